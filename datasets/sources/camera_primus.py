"""Camera-PrIMuS and plain PrIMuS: 87,678 incipits, each with a label of what sounds, engraved by Verovio.

    **/<id>/<id>.png, <id>_distorted.jpg, <id>.semantic, <id>.agnostic, <id>.mei

The folder is looked for in any depth: `Corpus/<id>/` in one archive, `package_aa/<id>/` in the other, which has no
distorted pictures. An id such as `000051652-1_2_1` is an incipit of the source 000051652 in RISM's catalogue; the
source is the work.

The MEI that the image was engraved from is a second truth (`primus_mei`): a label that disagrees with it is
rejected, and of the accidentals those are taken that it prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from datasets.errors import CorpusError
from datasets.sources import listing, pairs
from datasets.sources.base import Harvest, Piece, Request, Source, UnusableError, nothing_found, training_split_of
from datasets.sources.primus_mei import checked

_CLEAN, _DISTORTED = ".png", "_distorted.jpg"
_ENDINGS = {"distorted": (_DISTORTED,), "clean": (_CLEAN,), "both": (_CLEAN, _DISTORTED)}
_LISTS = ("train.txt", "test.txt")


class CameraPrimusSource(Source):
    """Incipits, clean or as a camera would have seen them."""

    name = "camera_primus"
    recipe = 1
    options = MappingProxyType(
        {"images": tuple(_ENDINGS), "mei": ("check", "ignore"), "split": ("work", "published")},
    )

    def pieces(self, request: Request) -> Sequence[Piece]:
        paths = list(listing.files_below(request.folder))
        incipits = pairs.each_once(_stems(paths), _id_of)
        if not incipits:
            raise nothing_found(self.name, request.root, "<id>/<id>.png or <id>_distorted.jpg beside <id>.semantic")
        endings = _ENDINGS[request.options["images"]] if _any_distorted(paths) else (_CLEAN,)
        splits = _published_splits(request.folder, paths) if request.options["split"] == "published" else {}
        pieces = (_piece(stem + ending, splits) for stem in incipits for ending in endings)
        return listing.shuffled(pieces, request.seed)

    def staves(self, piece: Piece, request: Request) -> Harvest:
        if request.options["split"] == "published" and not piece.published:
            raise UnusableError("in neither published list")
        picture = request.path(piece)
        stem = picture.with_name(_id(picture.name))
        if not picture.is_file():
            clean = stem.with_name(stem.name + _CLEAN)
            raise UnusableError("no distorted picture" if clean.is_file() else pairs.NO_PICTURE_FILE)
        symbols = pairs.read_label(pairs.file_called(stem, (pairs.LABEL,), otherwise=pairs.NO_LABEL_FILE))
        if request.options["mei"] == "check":
            symbols = checked(symbols, stem.with_name(f"{stem.name}.mei"))
        else:
            symbols = pairs.printed(symbols)
        return Harvest((pairs.staff(piece, self.name, picture, symbols, request.size),))

    def remarks(self, request: Request) -> Sequence[str]:
        paths = list(listing.files_below(request.folder))
        remarks = []
        if not _any_distorted(paths) and request.options["images"] != "clean":
            remarks.append(f"there is not one {_DISTORTED} in {request.folder}: the clean pictures are taken")
        found = _stems(paths)
        if twice := len(found) - len(pairs.each_once(found, _id_of)):
            remarks.append(f"left out: {twice:,} incipits that stand below {request.folder} twice")
        if request.options["split"] == "published":
            works = [{_work(id_) for id_ in ids} for ids in _published_lists(request.folder, paths).values()]
            shared = len(set.intersection(*works))
            remarks.append(f"the published split has incipits of {shared:,} RISM sources on both sides")
        return remarks


def _piece(picture: str, splits: Mapping[str, str]) -> Piece:
    id_ = _id(PurePosixPath(picture).name)
    work = listing.printable(_work(id_))
    return Piece(listing.printable(picture), work, group=work, content=picture, published=splits.get(id_, ""))


def _id(name: str) -> str:
    """`000051652-1_2_1` of any of its files."""
    return PurePosixPath(name).stem.removesuffix("_distorted")


def _stems(paths: Sequence[str]) -> dict[str, int]:
    return pairs.stems(paths, pictures=(_DISTORTED, _CLEAN))


def _id_of(stem: str) -> str:
    return stem.rpartition("/")[2]


def _work(id_: str) -> str:
    return id_.partition("-")[0]


def _any_distorted(paths: Sequence[str]) -> bool:
    return any(path.endswith(_DISTORTED) for path in paths)


def _published_splits(root: Path, paths: Sequence[str]) -> dict[str, str]:
    """The split of each incipit in the published lists; validation is a tenth of the training list, by work."""
    lists = _published_lists(root, paths)
    splits = {id_: training_split_of(_work(id_)) for id_ in lists["train.txt"]}
    return splits | dict.fromkeys(lists["test.txt"], "test")


def _published_lists(root: Path, paths: Sequence[str]) -> dict[str, set[str]]:
    """The incipits of each list.

    Raises:
        CorpusError: a list is missing.
    """
    lists = {}
    for name in _LISTS:
        files = [root / path for path in paths if PurePosixPath(path).name == name]
        if not files:
            raise CorpusError(
                f"split=published: no {name} below {root}; the lists {' and '.join(_LISTS)} with an incipit a line "
                "are published apart from the images: put them there, or leave split=published out"
            )
        lists[name] = {id_ for file in files for id_ in _listed(file)}
    return lists


def _listed(file: Path) -> Iterator[str]:
    """The incipits that a list names, with or without folders and endings."""
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if name := PurePosixPath(line.strip().replace("\\", "/")).name:
            yield _id(name)
