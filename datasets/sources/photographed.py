"""Photographs of staves beside their labels, in any folders: `<piece>/<name>.jpg` beside `<piece>/<name>.semantic`.

So the training log kept its benchmark of 71 staves out of three pieces, and so a user can keep photographs of their
own. A folder is a work. Everything is test by default, as in the log; `split=work` is for training on it. Labels write
what sounds, unless `accidentals=printed` is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from types import MappingProxyType

from datasets.sources import listing, pairs
from datasets.sources.base import Harvest, Piece, Request, Source, nothing_found


class PhotographedSource(Source):
    """The log's benchmark, or a user's photographs."""

    name = "photographed"
    recipe = 1
    options = MappingProxyType({"accidentals": ("sounding", "printed"), "split": ("test", "work")})

    def pieces(self, request: Request) -> Sequence[Piece]:
        found = pairs.stems(listing.files_below(request.folder))
        if not found:
            raise nothing_found(self.name, request.root, "<piece>/<name>.jpg or .png beside <name>.semantic")
        published = "test" if request.options["split"] == "test" else ""
        pieces = (_piece(stem, request.folder.name, published) for stem in found)
        return listing.shuffled(pieces, request.seed)

    def staves(self, piece: Piece, request: Request) -> Harvest:
        picture, symbols = pairs.read(request.path(piece))
        if request.options["accidentals"] == "sounding":
            symbols = pairs.printed(symbols)
        return Harvest((pairs.staff(piece, self.name, picture, symbols, request.size),))


def _piece(stem: str, root: str, published: str) -> Piece:
    name = listing.printable(stem)
    folder = str(PurePosixPath(name).parent)
    work = listing.printable(root) if folder == "." else folder
    return Piece(name, work, group=work, content=stem, published=published)
