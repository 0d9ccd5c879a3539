"""The branch vocabularies: which symbols a model can read and write, named and versioned.

TrOMR (arXiv 2308.09370) splits every symbol into four aligned branches: rhythm, pitch, lift, and whether it
is a note. Pitch (71), lift (7) and note (2) are the same in both vocabularies; the rhythm branch has the
paper's size or the training log's smaller one, composed here from lists:

full     260 rhythms: all of PrIMuS' published list, with its 98 lengths of rests over several bars; notes and
         rests in one systematic set of dots and fermatas; three more time signatures.
reduced  70 rhythms: no grace notes (nor their ties), no fermatas, time signatures by their unit alone ("/4";
         C is "/4", C/ is "/2"), rests over several bars without their number, one dot at most and only from
         whole to thirty-second. What `full` can write does not fall out but is written more simply.

A change of any list is a new version: it changes what the numbers in a checkpoint mean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from datasets.command_line import check_choice
from datasets.errors import VocabularyError
from datasets.notation import (
    BARLINE,
    CHORD,
    CLEFS,
    DURATIONS,
    FERMATA,
    KEYS,
    STEPS,
    TIE,
    Symbol,
    events,
    parse,
)

PAD, BOS, EOS = 0, 1, 2
"""Rhythm ids of padding, begin and end of a sequence; the other branches have "no note" there."""
NO_NOTE = 0
"""The id of "no note" in the pitch, lift and note branches."""
IS_NOTE = 1
SYMBOL_BRANCHES = ("rhythm", "pitch", "lift")
"""Those that a symbol is written in; whether it is a note, its rhythm says."""

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tokens:
    """A staff as the model sees it: four int64 arrays of one length, the symbols between BOS and EOS."""

    rhythm: Ids
    pitch: Ids
    lift: Ids
    note: Ids


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of the rhythm, pitch and lift branches; a token's id is its place.

    Attributes:
        rewrite: turns a label into the symbols that this vocabulary writes for it, each with the index of the one that
            it stands for; idempotent.
    """

    name: str
    version: str
    rhythm: tuple[str, ...]
    pitch: tuple[str, ...]
    lift: tuple[str, ...]
    rewrite: Callable[[Iterable[Symbol]], list[tuple[int, Symbol]]]

    def reduce(self, symbols: Iterable[Symbol]) -> list[Symbol]:
        """The symbols that this vocabulary writes for a label; idempotent."""
        return [symbol for _, symbol in self.rewrite(symbols)]

    def encode(self, symbols: Sequence[Symbol]) -> Tokens:
        """Number n symbols as four arrays of length n + 2.

        Raises:
            VocabularyError: symbols that the vocabulary lacks; `reduce` comes first.
        """
        lacking = self.missing(symbols)
        if lacking:
            raise VocabularyError(self._lacks(lacking))
        none = (NO_NOTE, NO_NOTE, NO_NOTE)
        rows = [(BOS, *none), *map(self._row, symbols), (EOS, *none)]
        return Tokens(*np.array(rows, dtype=np.int64).T.copy())

    def decode(self, rhythm: Iterable[int], pitch: Iterable[int], lift: Iterable[int]) -> list[Symbol]:
        """Read symbols off three sequences of ids of one length, up to EOS; PAD and BOS are skipped.

        The rhythm decides whether pitch and lift are read at all. A note that the pitch branch calls no note
        becomes the lowest pitch, C0, which no staff has, so that it stays a note and counts as a wrong pitch;
        one that the lift branch calls no note has no accidental.
        """
        steps = list(zip(rhythm, pitch, lift, strict=True))
        return [self._symbol(*steps[place]) for place in self.written([step[0] for step in steps])]

    def written(self, rhythm: Sequence[int]) -> list[int]:
        """The places of a sequence that are symbols: up to EOS, without PAD and BOS."""
        end = rhythm.index(EOS) if EOS in rhythm else len(rhythm)
        return [place for place in range(end) if rhythm[place] not in (PAD, BOS)]

    def _symbol(self, rhythm_id: int, pitch_id: int, lift_id: int) -> Symbol:
        symbol = Symbol(self.rhythm[rhythm_id])
        if not symbol.is_note:
            return symbol
        return replace(symbol, pitch=self.pitch[pitch_id or 1], lift=_lift_of(self.lift[lift_id or 1]))

    @cached_property
    def note_rhythm_mask(self) -> npt.NDArray[np.bool_]:
        """Which rhythm ids are notes; shape (len(rhythm),)."""
        return np.array([Symbol(token).is_note for token in self.rhythm])

    def missing(self, symbols: Iterable[Symbol]) -> Counter[str]:
        """The branch tokens that the vocabulary lacks, with how often the symbols need them."""
        return Counter(
            token
            for symbol in symbols
            for token, ids in zip(_branches(symbol), self._ids, strict=True)
            if token not in ids
        )

    def check(self, labels: Iterable[str], where: str) -> None:
        """Make sure that a corpus can be written, before a run crashes on it after an hour.

        Args:
            labels: semantic texts, one a staff.
            where: what the error message calls them ("corpus grandstaff").

        Raises:
            VocabularyError: everything that is lacking, most frequent first.
            NotationError: a label that is no semantic encoding.
        """
        lacking: Counter[str] = Counter()
        for label in labels:
            lacking += self.missing(self.reduce(parse(label)))
        if lacking:
            raise VocabularyError(f"{where}: {self._lacks(lacking)}")

    @cached_property
    def _ids(self) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
        rhythm, pitch, lift = (
            {token: id_ for id_, token in enumerate(branch)} for branch in (self.rhythm, self.pitch, self.lift)
        )
        return rhythm, pitch, lift

    def _row(self, symbol: Symbol) -> tuple[int, int, int, int]:
        rhythm, pitch, lift = (ids[token] for token, ids in zip(_branches(symbol), self._ids, strict=True))
        return rhythm, pitch, lift, IS_NOTE if symbol.is_note else NO_NOTE

    def _lacks(self, lacking: Counter[str], shown: int = 20) -> str:
        listed = ", ".join(f"{token} ({count} x)" for token, count in lacking.most_common(shown))
        more = f" and {len(lacking) - shown} more" if len(lacking) > shown else ""
        choices = ", ".join(VOCABULARIES)
        return f"the vocabulary {self.version} has no {listed}{more}; there are the vocabularies {choices}"


def vocabulary(name: str) -> Vocabulary:
    """The vocabulary of that name.

    Raises:
        ConfigError: there is none; the message names those that are there.
    """
    check_choice("vocabulary", name, tuple(VOCABULARIES))
    return VOCABULARIES[name]


def _branches(symbol: Symbol) -> tuple[str, str, str]:
    if symbol.is_note:
        return symbol.rhythm, symbol.pitch, f"lift_{symbol.lift or 'null'}"
    return symbol.rhythm, _NONOTE, _NONOTE


def _lift_of(token: str) -> str:
    return token.removeprefix("lift_").replace("null", "")


# The lists ----------------------------------------------------------------------------------------------

_NONOTE = "nonote"
_PITCHES = (_NONOTE, *(f"{step}{octave}" for octave in range(10) for step in STEPS))
_LIFTS = (_NONOTE, "lift_null", "lift_##", "lift_#", "lift_bb", "lift_b", "lift_N")

_SIGNS = (
    "[PAD]",
    "[BOS]",
    "[EOS]",
    CHORD,
    BARLINE,
    TIE,
    *(f"clef-{clef}" for clef in CLEFS),
    *(f"keySignature-{key}" for key in KEYS),
)

_BEATS_BY_UNIT = {  # those of PrIMuS, its misprints too, and 5/2, 7/8, 3/16
    1: (2, 3, 4),
    2: (1, 2, 3, 4, 5, 6, 8),
    3: (2,),
    4: (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12),
    6: (3,),
    8: (2, 3, 4, 5, 6, 7, 8, 9, 12),
    12: (8,),
    16: (3, 6, 8, 9, 12, 24),
    48: (2,),
}
_METRES = (
    "C",
    "C/",
    *(f"{beats}/{unit}" for unit, all_beats in _BEATS_BY_UNIT.items() for beats in all_beats),
)
_MULTIRESTS = (
    *range(1, 61),  # PrIMuS has all of these, and of the longer ones:
    *(63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 76, 77, 79, 80, 81, 88, 89, 91, 94, 96, 98, 99, 100),
    *(105, 107, 112, 115, 119, 123, 124, 126, 128, 143, 164, 193, 225, 1111),
)
_TO_SIXTEENTH = DURATIONS[: DURATIONS.index("sixteenth") + 1]
_LENGTHS = (
    *(duration + dot for duration in DURATIONS for dot in ("", ".")),
    *(f"{duration}.." for duration in ("half", "quarter", "eighth", "sixteenth")),
    *(f"{duration}{dot}{FERMATA}" for duration in _TO_SIXTEENTH for dot in ("", ".")),
    f"quarter..{FERMATA}",
)
_GRACE_LENGTHS = (
    *DURATIONS[1:-1],  # PrIMuS has a double whole; nobody has the longest and the shortest
    *("quarter.", "eighth.", "sixteenth."),
)
_FULL_RHYTHMS = (
    *_SIGNS,
    *(f"timeSignature-{metre}" for metre in _METRES),
    *(f"note-{length}" for length in _LENGTHS),
    *(f"gracenote-{length}" for length in _GRACE_LENGTHS),
    *(f"rest-{length}" for length in _LENGTHS),
    *(f"multirest-{bars}" for bars in _MULTIRESTS),
)

_SMALLEST_UNIT = 32
_UNITS = (1, 2, 4, 8, 16, _SMALLEST_UNIT)
_DOTTABLE = ("whole", "half", "quarter", "eighth", "sixteenth", "thirty_second")
_REDUCED_LENGTHS = (*DURATIONS, *(f"{duration}." for duration in _DOTTABLE))
_REDUCED_RHYTHMS = (
    *_SIGNS,
    *(f"timeSignature-/{unit}" for unit in _UNITS),
    *(f"note-{length}" for length in _REDUCED_LENGTHS),
    *(f"rest-{length}" for length in _REDUCED_LENGTHS),
    "multirest",
)


# The simpler writing of `reduced` -------------------------------------------------------------------------


def _write_as_it_is(symbols: Iterable[Symbol]) -> list[tuple[int, Symbol]]:
    return list(enumerate(symbols))


def _write_simply(symbols: Iterable[Symbol]) -> list[tuple[int, Symbol]]:
    simple: list[tuple[int, Symbol]] = []
    after_grace, index = False, 0
    for event in events(symbols):
        if event[0].is_grace:
            after_grace = True
        elif not (after_grace and event[0].rhythm == TIE):
            simple += ((at, replace(symbol, rhythm=_simple_rhythm(symbol))) for at, symbol in enumerate(event, index))
            after_grace = False
        index += len(event)
    return simple


def _simple_rhythm(symbol: Symbol) -> str:
    match symbol.kind:
        case "note" | "rest":
            length = symbol.rhythm.removesuffix(FERMATA)
            plain = length.rstrip(".")
            return f"{plain}." if length != plain and f"{plain}." in _REDUCED_RHYTHMS else plain
        case "timeSignature":
            return f"timeSignature-/{_unit(symbol.rhythm.removeprefix('timeSignature-'))}"
        case "multirest":
            return "multirest"
    return symbol.rhythm


def _unit(metre: str) -> int:
    """The unit of a time signature; of a misprint (2/48, 3/6 in PrIMuS) the next longer note value."""
    if metre in ("C", "C/"):
        return 4 if metre == "C" else 2
    written = int(metre.rpartition("/")[2])
    return min(1 << (written.bit_length() - 1), _SMALLEST_UNIT)


VOCABULARIES = {
    entry.name: entry
    for entry in (
        Vocabulary("full", "full-1", _FULL_RHYTHMS, _PITCHES, _LIFTS, rewrite=_write_as_it_is),
        Vocabulary("reduced", "reduced-1", _REDUCED_RHYTHMS, _PITCHES, _LIFTS, rewrite=_write_simply),
    )
}
