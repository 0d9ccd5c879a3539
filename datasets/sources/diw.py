"""Documents in the Wild and other pictures without music: strips whose label is empty.

    DIW/5k/img/*.png      5,000 photographed documents; `seg/` beside it holds masks and is left out

Any folder of pictures serves. Of each page two strips are taken, one in its upper and one in its lower half, in the
proportions of the staff image, as wide as half of the page or more: two, because neighbouring strips of a page
look alike, and 10,000 are more negatives than a mixture draws from.

Without a folder 2,000 strips are drawn (`datasets.pictures.negatives`), so that a mixture works on any machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np

from datasets.images import IMAGE_SUFFIXES, Gray, fit
from datasets.pictures.negatives import negative
from datasets.seeds import seed_from
from datasets.sources import listing, pairs
from datasets.sources.base import Harvest, Piece, Request, Source, nothing_found
from datasets.staff import StaffSample, StaffSize

DRAWN = 2000
STRIPS_OF_A_PAGE = 2
_MASKS = "seg"
_NARROWEST = 0.5  # of the widest strip that the page holds


class DocumentsSource(Source):
    """Negatives: strips of the user's documents, or drawn ones."""

    name = "diw"
    recipe = 1
    needs_root = False
    staves_an_image = (1, 2)

    def pieces(self, request: Request) -> Sequence[Piece]:
        if request.root is None:
            return listing.shuffled((_piece(f"drawn/{number}") for number in range(DRAWN)), request.seed)
        pages = list(_pages(listing.files_below(request.root)))
        if not pages:
            raise nothing_found(self.name, request.root, f"pictures ({', '.join(sorted(IMAGE_SUFFIXES))})")
        return listing.shuffled(map(_piece, pages), request.seed)

    def staves(self, piece: Piece, request: Request) -> Harvest:
        if request.root is None:
            seed = seed_from(request.seed, piece.name)
            return Harvest((_staff(piece, piece.name, negative(request.size.height, request.size.width, seed)),))
        page = pairs.decode(request.path(piece))
        strips = []
        for part in range(STRIPS_OF_A_PAGE):
            name = f"{piece.name}/{part + 1}"
            strips.append(_staff(piece, name, _strip(page, part, request.size, seed_from(request.seed, name))))
        return Harvest(tuple(strips))

    def remarks(self, request: Request) -> Sequence[str]:
        if request.root:
            return ()
        return (f"no root= with documents (in a mixture: a root= that holds {self.name}): the strips are drawn",)


def _strip(page: Gray, part: int, size: StaffSize, seed: int) -> Gray:
    """A strip of a page whose middle lies in one of its equal parts from top to bottom, as an image of the size."""
    rng = np.random.default_rng(seed)
    page_height, page_width = page.shape
    aspect = size.width / size.height
    width = min(page_width, page_height * aspect) * rng.uniform(_NARROWEST, 1)
    height = width / aspect
    middle = page_height * (part + rng.uniform()) / STRIPS_OF_A_PAGE
    top, left = int(np.clip(middle - height / 2, 0, page_height - height)), int(rng.uniform(0, page_width - width))
    rows, columns = slice(top, top + max(1, round(height))), slice(left, left + max(1, round(width)))
    return fit(page[rows, columns], size.height, size.width)


def _pages(paths: Iterable[str]) -> Iterator[str]:
    for path in map(PurePosixPath, paths):
        if path.suffix.lower() in IMAGE_SUFFIXES and _MASKS not in path.parts[:-1]:
            yield str(path)


def _piece(name: str) -> Piece:
    work = listing.printable(name)
    return Piece(work, work, group=work, content=name)


def _staff(piece: Piece, name: str, image: Gray) -> StaffSample:
    return StaffSample(staff_id=name, work=piece.work, source=DocumentsSource.name, image=image, semantic="")
