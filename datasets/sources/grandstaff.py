"""GrandStaff: 53,882 piano systems of two staves in **kern, with pictures that Verovio engraved.

    <composer>/<collection>/<piece>/<key>_m-<first>-<last>{.krn,.bekrn,.jpg,_distorted.jpg}

`<key>` is `original`, or one of six transpositions: `maj2_up`, `min3_down` and so on. An excerpt gives two single
staves, cut out of its picture, or one grand staff, whichever the size holds. A score is also taken as MusicXML, and a
picture that is missing is engraved anew.

The published split tests on the originals, whose transpositions it trains on: it measures how well music is known by
heart. So a piece stands in one split here, with all its excerpts in all keys, unless the published one is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from datasets.images import Gray, fit
from datasets.pictures.distortion import distort
from datasets.pictures.systems import SplitError, split_system, two_staves
from datasets.scores.drawing import engrave_score
from datasets.scores.engraving import EngravingError
from datasets.scores.mei_symbols import MeiError
from datasets.scores.score import Score, grand_label, label, read_score, score_bytes
from datasets.seeds import seed_from
from datasets.sources import listing, pairs
from datasets.sources.base import (
    Harvest,
    Piece,
    Reject,
    Request,
    Source,
    UnusableError,
    counted,
    nothing_found,
    training_split_of,
)
from datasets.staff import StaffSample, StaffSize

NO_SCORE = "no score beside the picture"
NOT_TWO_STAVES = "a score without exactly two staves"

_SCORES = (".krn", ".bekrn", ".musicxml")
_PICTURES = {"clean": ".jpg", "distorted": "_distorted.jpg"}
_KINDS = {"distorted": ("distorted",), "clean": ("clean",), "both": ("clean", "distorted")}
_EXCERPT = re.compile(r"(?P<stem>(?:.*/)?(?P<key>[^/]+)_(?P<measures>m-\d+-\d+))(?P<ending>\.\w+|_distorted\.jpg)")
_STAVES: Mapping[int, Mapping[str, tuple[int, ...]]] = {1: {"upper": (0,), "lower": (1,)}, 2: {"both": (0, 1)}}
_STRENGTH = 0.6  # of the distortion of what is engraved anew: about as far as the published ones go
_SMALLEST = 0.5  # of the size's staff space: what a published picture may be scaled down to


class GrandStaffSource(Source):
    """Piano systems, as single staves or as grand staves."""

    name = "grandstaff"
    recipe = 1
    staves_an_image = (1, 2)
    options = MappingProxyType({"images": tuple(_KINDS), "split": ("work", "published")})

    def pieces(self, request: Request) -> Sequence[Piece]:
        excerpts = _excerpts(listing.files_below(request.folder))
        if not excerpts:
            raise nothing_found(self.name, request.root, "<composer>/<collection>/<piece>/<key>_m-<first>-<last>.krn")
        published = request.options["split"] == "published"
        pieces = (_piece(stem, request.folder.resolve(), published) for stem in sorted(excerpts))
        return listing.shuffled({piece.name: piece for piece in pieces}.values(), request.seed)

    def staves(self, piece: Piece, request: Request) -> Harvest:
        score = _read(request.path(piece))
        return _Excerpt(piece, request, score).harvest()

    def remarks(self, request: Request) -> Sequence[str]:
        excerpts = _excerpts(listing.files_below(request.folder))
        endings = [_PICTURES[kind] for kind in _KINDS[request.options["images"]]]
        missing = {ending: sum(ending not in there for there in excerpts.values()) for ending in endings}
        remarks = [
            f"engraved anew: {count:,} of {len(excerpts):,} excerpts have no {ending}"
            for ending, count in missing.items()
            if count
        ]
        if request.options["split"] == "published":
            remarks.append(
                "the published split leaks: it tests on originals whose six transpositions it trains on; "
                "split=work keeps a piece together"
            )
        return remarks


def _excerpts(paths: Iterable[str]) -> Mapping[str, set[str]]:
    """The paths of all excerpts without their endings, and the endings of each."""
    excerpts: dict[str, set[str]] = {}
    for path in paths:
        match = _EXCERPT.fullmatch(path)
        if match and match["ending"] in (*_SCORES, *_PICTURES.values()):
            excerpts.setdefault(match["stem"], set()).add(match["ending"])
    return excerpts


def _piece(stem: str, root: Path, published: bool) -> Piece:
    folder = PurePosixPath(root.as_posix(), stem).parent
    work = listing.printable("/".join(folder.parts[-3:]))
    name = PurePosixPath(stem).name
    key, _, measures = name.rpartition("_")
    split = ""
    if published:
        split = "test" if key == "original" else training_split_of(f"{work}/{measures}")
    return Piece(f"{work}/{listing.printable(name)}", work, group=work, content=stem, published=split)


def _read(stem: Path) -> Score:
    """The first of an excerpt's scores that can be read.

    Raises:
        UnusableError: there is none; or none can be read as two staves, with what is wrong with the first.
    """
    problems = []
    for path in [stem.with_name(stem.name + ending) for ending in _SCORES]:
        if path.is_file():
            try:
                return _score(path)
            except UnusableError as error:
                problems.append(error)
    raise problems[0] if problems else UnusableError(NO_SCORE)


def _score(path: Path) -> Score:
    try:
        data = score_bytes(path)
        if not data.strip():
            raise UnusableError("empty score")
        score = read_score(data, path.suffix)
    except MeiError as error:
        raise UnusableError(str(error)) from None
    if (count := len(score.staff_numbers)) != 2:
        raise UnusableError(NOT_TWO_STAVES, f"{count} staves")
    return score


@dataclass(frozen=True)
class _Excerpt:
    """An excerpt on its way to staves; one of its staves may fail and the other succeed."""

    piece: Piece
    request: Request
    score: Score
    rejects: list[Reject] = field(default_factory=list)

    def harvest(self) -> Harvest:
        labels = dict(self._labels())
        staves = [
            staff for kind in _KINDS[self.request.options["images"]] if labels for staff in self._staves(kind, labels)
        ]
        return Harvest(tuple(staves), tuple(self.rejects))

    def _labels(self) -> Iterator[tuple[str, str]]:
        """The label of every image to be, by its name."""
        for name, staves in _STAVES[self.request.size.staves].items():
            try:
                symbols = label(self.score, *staves) if len(staves) == 1 else grand_label(self.score, *staves)
                yield name, pairs.finished(symbols, self.request.size)
            except MeiError as error:
                self._reject(name, UnusableError(str(error)))
            except UnusableError as error:
                self._reject(name, error)

    def _staves(self, kind: str, labels: Mapping[str, str]) -> Iterator[StaffSample]:
        path = self.request.path(self.piece)
        picture = path.with_name(path.name + _PICTURES[kind])
        try:
            published = _published(picture, self.request.size) if picture.is_file() else {}
        except UnusableError as error:
            for name in labels:
                self._reject(self._id(name, kind), error)
            return
        for name, semantic in labels.items():
            try:
                image = published[name] if published else self._engraved(name, kind)
            except UnusableError as error:
                self._reject(self._id(name, kind), error)
            else:
                yield StaffSample(
                    staff_id=f"{self.piece.name}/{self._id(name, kind)}",
                    work=self.piece.work,
                    source=GrandStaffSource.name,
                    image=image,
                    semantic=semantic,
                )

    def _engraved(self, name: str, kind: str) -> Gray:
        staves = _STAVES[self.request.size.staves][name]
        seed = seed_from(self.request.seed, f"{self.piece.name}/{name}")
        try:
            image = engrave_score(self.score, staves, self.request.size, seed)
        except EngravingError as error:
            raise UnusableError(*counted(str(error))) from None
        return distort(image, _STRENGTH, seed, staves=len(staves)) if kind == "distorted" else image

    def _id(self, name: str, kind: str) -> str:
        return f"{name}/{kind}" if self.request.options["images"] == "both" else name

    def _reject(self, name: str, error: UnusableError) -> None:
        self.rejects.append(Reject(f"{self.piece.name}/{name}", error.reason, error.detail))


def _published(path: Path, size: StaffSize) -> dict[str, Gray]:
    """What the published picture of a system shows of each image to be, in the size.

    Raises:
        UnusableError: it is no picture, no two staves are found in it, they cannot be parted, or it is too large.
    """
    image = pairs.decode(path)
    try:
        if size.staves == 2:
            return {"both": _fitted(image, float(two_staves(image)[0].space.mean()), size)}
        upper, lower = split_system(image, least_height=size.height / size.staff_space)
    except SplitError as error:
        raise UnusableError(str(error)) from None
    return {"upper": _fitted(upper.image, upper.space, size), "lower": _fitted(lower.image, lower.space, size)}


def _fitted(image: Gray, space: float, size: StaffSize) -> Gray:
    """A picture in its size.

    Raises:
        UnusableError: its staff would be too small in there to be read.
    """
    height, width = image.shape
    scale = min(size.height / height, size.width / width)
    if scale * space < _SMALLEST * size.staff_space:
        reason = "wider than the image" if scale == size.width / width else "higher than the image"
        raise UnusableError(reason, f"its lines would be {scale * space:.1f} pixels apart")
    return fit(image, size.height, size.width)
