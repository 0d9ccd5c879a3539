"""The worst and the median staves: as the model saw them, what is printed, and what it read, its errors marked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from datasets.errors import CorpusError
from datasets.images import encode_png
from datasets.notation import BARLINE, Symbol, format_semantic
from datasets.shards import PreparedCorpus
from datasets.workers import Failure, Workers
from omr_model.metrics import percent
from results.page.blocks import Block, Fold, Picture, Points, Prose, Row
from results.page.readings import ReadStaff
from results.page.words import NO_PITCH, edit_list
from results.study import CorpusRecord

LEAST_SYMBOLS = 5  # of a staff that is shown: on fewer, one error makes it the worst
SHOWN, FOLDED = 3, 3  # of each kind
MOST_EDITS = 4  # listed in the open
SIDE_BY_SIDE = 20  # symbols of a staff of which two have room beside each other
LINE = 24  # symbols at least, before the next barline ends it
MOST_BYTES = 1_100_000  # of all pictures: the page stays one that can be mailed
VALIDATION = "validation"

Kind: TypeAlias = Literal["worst", "median"]
Marked: TypeAlias = tuple[Sequence[Symbol], frozenset[int]]
"""Symbols, and the places of those that are marked."""
Engraved: TypeAlias = Sequence[tuple[str, str]] | Failure
"""Line by line what is printed and what was read, as SVG; or why there is none."""


@dataclass(frozen=True)
class Shown:
    """A staff that is shown, and as the how manieth of its kind."""

    kind: Kind
    number: int
    staff: ReadStaff

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.number}"

    @property
    def title(self) -> str:
        return f"{self.kind.capitalize()} {self.number}"


def staves_blocks(staves: Sequence[ReadStaff], corpus: CorpusRecord) -> list[Block]:
    """The chosen staves one after the other, the further ones in folds."""
    worst, median = choose(staves)
    if not worst:
        return [Prose(paragraphs=[f"No staff is shown: none has {LEAST_SYMBOLS} printed symbols."])]
    shown = [*worst[:SHOWN], *median[:SHOWN], *worst[SHOWN:], *median[SHOWN:]]
    images = find_images(corpus, [one.staff.staff_id for one in shown])
    pictures = dict(zip([one.name for one in shown], _pictures(shown, images), strict=True))

    def drawn(part: Sequence[Shown]) -> list[Block]:
        return [block for one in part for block in _staff_blocks(one, pictures[one.name])]

    told = [_choice_words(median)]
    if any(symbol.pitch == NO_PITCH for one in shown for symbol in one.staff.prediction):
        told.append(f"A crossed note head on the middle line is a note that was given no pitch (`{NO_PITCH}` as text).")
    if isinstance(images, str):
        told.append(images)
    return [
        Prose(paragraphs=told),
        *drawn(worst[:SHOWN]),
        *([Fold(title="More of the worst staves", blocks=drawn(worst[SHOWN:]))] if worst[SHOWN:] else []),
        *drawn(median[:SHOWN]),
        *([Fold(title="More of the median staves", blocks=drawn(median[SHOWN:]))] if median[SHOWN:] else []),
    ]


def choose(staves: Sequence[ReadStaff]) -> tuple[list[Shown], list[Shown]]:
    """The worst staves, and those in the middle of the same order that are not among them.

    By edits per printed symbol, then by staff_id; of staves with `LEAST_SYMBOLS` printed symbols or more.
    """
    long_enough = [staff for staff in staves if staff.length >= LEAST_SYMBOLS]
    order = sorted(long_enough, key=lambda staff: (-staff.distance / staff.length, staff.staff_id))
    worst, rest = order[: SHOWN + FOLDED], order[SHOWN + FOLDED :]
    middle = len(order) // 2 - len(worst)  # in `rest`: the median of all
    nearest = sorted(range(len(rest)), key=lambda place: (abs(place - middle), place))[: SHOWN + FOLDED]
    return (
        [Shown("worst", number, staff) for number, staff in enumerate(worst, start=1)],
        [Shown("median", number, rest[place]) for number, place in enumerate(nearest, start=1)],
    )


def find_images(corpus: CorpusRecord, staff_ids: Sequence[str]) -> Mapping[str, bytes] | str:
    """The PNGs of validation staves by their id, or why there are none; a staff that is not there has none."""
    try:
        prepared = PreparedCorpus.open(corpus.folder, verify=False)
        if prepared.manifest.content_hash != corpus.hash:
            raise CorpusError(f"{corpus.path}: prepared anew since the study, with other staves")
        staves = prepared.staves(VALIDATION)
        places = {staves.staff_id(place): place for place in range(len(staves))}
        return {each: encode_png(staves.image(places[each])) for each in staff_ids if each in places}
    except CorpusError as error:
        return f"The staves' own pictures are not shown ({error})."


def engrave(tasks: Sequence[Marked]) -> list[str | Failure]:
    """Each task's symbols as an SVG with the marked ones marked, or why there is none.

    In processes of their own: Verovio may abort the one that it runs in.
    """
    with Workers(engrave_one, count=2) as workers:
        return list(workers.map(tasks))


def engrave_one(task: Marked) -> str | Failure:
    """One task, in a worker."""
    from datasets.scores.engraving import EngravingError
    from datasets.scores.marked import marked_svg  # Verovio: slow to import, and not needed here

    symbols, marked = task
    try:
        return marked_svg(symbols, marked)
    except EngravingError as error:
        return Failure(str(error))


@dataclass(frozen=True)
class _Pictures:
    """Of one staff: as it was seen, and engraved."""

    seen: bytes | None
    lines: Engraved


def _pictures(shown: Sequence[Shown], images: Mapping[str, bytes] | str) -> list[_Pictures]:
    """Of each staff; the last ones have no engraving if all together would be too large."""
    tasks = [lines(one.staff) for one in shown]
    drawings = iter(engrave([task for staff in tasks for line in staff for task in line]))
    found, total = [], 0
    for one, staff in zip(shown, tasks, strict=True):
        seen = None if isinstance(images, str) else images.get(one.staff.staff_id)
        engraved = _all_or_none([(next(drawings), next(drawings)) for _ in staff])
        if not isinstance(engraved, Failure) and total + _bytes(engraved) > MOST_BYTES:
            engraved = Failure("the page would grow too large")
        total += len(seen or b"") + _bytes(engraved)
        found.append(_Pictures(seen, engraved))
    return found


def _all_or_none(drawn: Sequence[tuple[str | Failure, str | Failure]]) -> Engraved:
    engraved = []
    for printed, read in drawn:
        for part in (printed, read):
            if isinstance(part, Failure):
                return part
        engraved.append((str(printed), str(read)))
    return engraved


def _bytes(engraved: Engraved) -> int:
    return 0 if isinstance(engraved, Failure) else sum(len(part) for line in engraved for part in line)


def lines(staff: ReadStaff) -> list[tuple[Marked, Marked]]:
    """What is printed and what was read, cut where both have the same barline, so that the lines say the same music.

    Each line but the first begins with the clef and the key that hold there, as lines do.
    """
    cuts, begun = [0], 0
    for place, pair in enumerate(staff.pairs[:-1], start=1):
        if place - begun >= LINE and staff.symbols(pair) == (Symbol(BARLINE), Symbol(BARLINE)):
            cuts.append(place)
            begun = place
    parts = [staff.pairs[start:end] for start, end in zip(cuts, [*cuts[1:], len(staff.pairs)], strict=True)]
    wrong = [pair for pair in staff.pairs if staff.differs(pair)]
    wrong_read, wrong_printed = ({pair[side] for pair in wrong} for side in (0, 1))
    return [
        (
            _line(staff.reference, [j for _, j in part if j is not None], wrong_printed),
            _line(staff.prediction, [i for i, _ in part if i is not None], wrong_read),
        )
        for part in parts
    ]


def _line(symbols: Sequence[Symbol], places: Sequence[int], wrong: Collection[int | None]) -> Marked:
    """The symbols at some places, behind what holds there."""
    before = symbols[: places[0]] if places else []
    held = [next((one for one in reversed(before) if one.kind == kind), None) for kind in ("clef", "keySignature")]
    if places and symbols[places[0]].kind == "clef":
        held = []  # it says so itself
    opening = [one for one in held if one is not None]
    marked = frozenset(len(opening) + number for number, place in enumerate(places) if place in wrong)
    return [*opening, *(symbols[place] for place in places)], marked


def _choice_words(median: Sequence[Shown]) -> str:
    rate = ""
    if median:
        first = median[0].staff
        rate = f" (SER {percent(first.distance / first.length)})" if first.distance else " (read without an error)"
    return (
        f"The worst staves have the most errors per printed symbol, of those with {LEAST_SYMBOLS} symbols or more; the "
        f"median ones stand in the middle of that order{rate}. What differs is marked in both engravings: in what is "
        "printed the symbols that were misread or missed, in what was read those that are wrong or made up."
    )


def _staff_blocks(one: Shown, pictures: _Pictures) -> list[Block]:
    staff = one.staff
    words = (
        f"`{staff.staff_id}`, corpus {staff.source}. SER {percent(staff.distance / staff.length)}: {_errors(staff)} on "
        f"{staff.length} printed symbols."
    )
    edits = edit_list(staff)
    texts = [f"Printed: `{format_semantic(staff.reference)}`", f"Read: `{format_semantic(staff.prediction) or '-'}`"]
    blocks: list[Block] = [Prose(paragraphs=[f"{one.title}: {words}"])]
    if pictures.seen is not None:
        blocks = [
            Picture(
                name=f"{one.name}-seen",
                title=f"{one.title}: as the model saw it",
                image=pictures.seen,
                description=f"Picture of the staff {staff.staff_id}; its printed symbols stand below as text.",
                caption=words,
            )
        ]
    if isinstance(pictures.lines, Failure):
        blocks.append(Prose(paragraphs=[*texts, f"(Not engraved: {pictures.lines.reason}.)"]))
    else:
        blocks += _engraved(one, pictures.lines)
    if edits:
        more = f"and {len(edits) - MOST_EDITS} more, below"
        blocks.append(Points(points=edits if len(edits) <= MOST_EDITS else [*edits[:MOST_EDITS], more]))
    further: list[Block] = [Points(points=edits[MOST_EDITS:])] if len(edits) > MOST_EDITS else []
    return [*blocks, Fold(title=f"{one.title} as text", blocks=[*further, Prose(paragraphs=texts)])]


def _engraved(one: Shown, lines: Sequence[tuple[str, str]]) -> list[Block]:
    """Both, line by line; short ones beside each other."""
    blocks: list[Block] = []
    for number, images in enumerate(lines, start=1):
        line = f", line {number}" if len(lines) > 1 else ""
        pair = [
            Picture(
                name=f"{one.name}-{part}" + (f"-{number}" if line else ""),
                title=f"{one.title}: {part}{line}",
                image=image,
                description=f"What {verb} {part}{line}, engraved. The list below tells its errors in words.",
            )
            for part, verb, image in zip(("printed", "read"), ("is", "was"), images, strict=True)
        ]
        short = max(len(one.staff.reference), len(one.staff.prediction)) <= SIDE_BY_SIDE
        blocks += [Row(blocks=pair)] if short else pair
    return blocks


def _errors(staff: ReadStaff) -> str:
    return f"{staff.distance} error{'s' if staff.distance != 1 else ''}"
