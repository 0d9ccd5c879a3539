"""What both readings of a score are turned into: bars, in words of the semantic encoding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from datasets.accidentals import printed_to_sounding
from datasets.notation import BARLINE, Symbol, events, format_semantic
from datasets.scores.measures import Measure


@dataclass(frozen=True)
class Bar:
    """One measure of one staff.

    A clef before the first note or after the last one is no word of the bar but shows in `clef`, its own or that of
    the next bar: which side of the barline it stands on is the engraver's choice.

    Attributes:
        clef, key: those in which its first note stands.
        meter: the one that is printed at its start, or "".
        printed: its events, a word each ("note-C5_half|note-E4_quarter"), with the accidentals that are printed.
        sounding: the same with the alterations that sound.
        tied: pitches into which a tie leads that the encoding has no word for (within chords, between voices). Only
            music21's reading knows.
        problem: why it cannot be said; there are no words then.
    """

    clef: str
    key: str
    meter: str = ""
    printed: tuple[str, ...] = ()
    sounding: tuple[str, ...] = ()
    tied: frozenset[str] = frozenset()
    problem: str = ""


Staff = list[Bar]


def bars_of(measures: Sequence[Measure]) -> Staff:
    """Our reading of one staff. What sounds follows from what is printed (`datasets.accidentals`)."""
    return [_bar(measure, heard) for measure, heard in zip(measures, _sounding(measures), strict=True)]


def is_clef(word: str) -> bool:
    """Whether a word of a bar is a clef."""
    return word.startswith("clef-")


def _bar(measure: Measure, heard: Sequence[Symbol]) -> Bar:
    clef = str(next((symbol for symbol in measure.symbols[:1] if symbol.kind == "clef"), measure.clef))
    meter = next((str(change) for change in measure.changes if change.kind == "timeSignature"), "")
    if measure.problem:
        return Bar(clef, str(measure.key), meter, problem=measure.problem)
    return Bar(clef, str(measure.key), meter, printed=_words(measure.symbols), sounding=_words(heard))


def _sounding(measures: Sequence[Measure]) -> Iterator[list[Symbol]]:
    """What each measure sounds. One that cannot be said gives nothing, and ends the memory of ties."""
    run: list[Measure] = []
    for measure in measures:
        if not measure.problem:
            run.append(measure)
            continue
        yield from _sounding_run(run)
        yield []
        run = []
    yield from _sounding_run(run)


def _sounding_run(run: Sequence[Measure]) -> Iterator[list[Symbol]]:
    printed: list[Symbol] = []
    for measure in run:
        printed += [measure.key, *measure.symbols, Symbol(BARLINE)]
    bar: list[Symbol] = []
    for symbol in printed_to_sounding(printed):
        if symbol.rhythm == BARLINE:
            yield bar
            bar = []
        elif symbol.kind != "keySignature":
            bar.append(symbol)


def _words(symbols: Iterable[Symbol]) -> tuple[str, ...]:
    """Symbols as words, without clefs at either end."""
    words = [format_semantic(event) for event in events(symbols)]
    while words and is_clef(words[0]):
        words.pop(0)
    while words and is_clef(words[-1]):
        words.pop()
    return tuple(words)
