"""Music for property tests: staves as lists of symbols, biased towards what makes accidentals difficult."""

from __future__ import annotations

from hypothesis import strategies as st

from datasets.notation import BARLINE, CHORD, LIFTS, TIE, Symbol, parse
from datasets.vocabulary import Vocabulary

_SOUNDING = ("", "#", "b", "##", "bb")
_NOTE_RHYTHMS = ("note-quarter", "note-eighth.", "note-half_fermata")
_SIGNS = (
    *(Symbol(token) for token in (BARLINE, TIE, "rest-quarter", "multirest-3", "clef-G2", "timeSignature-3/4")),
    *(Symbol(f"keySignature-{key}") for key in ("CM", "DM", "GM", "EbM", "C#M", "CbM")),
)


def _notes(rhythms: tuple[str, ...]) -> st.SearchStrategy[Symbol]:
    pitches = ("F4", "F5", "C5", "B4")  # few, so that notes meet again within a bar
    return st.builds(Symbol, st.sampled_from(rhythms), st.sampled_from(pitches), st.sampled_from(_SOUNDING))


def _joined(notes: list[Symbol]) -> list[Symbol]:
    return [symbol for note in notes for symbol in (Symbol(CHORD), note)][1:]


def _events() -> st.SearchStrategy[list[Symbol]]:
    return st.one_of(
        st.sampled_from(_SIGNS).map(lambda sign: [sign]),
        st.lists(_notes(_NOTE_RHYTHMS), min_size=1, max_size=3).map(_joined),
        st.lists(_notes(("gracenote-eighth",)), min_size=1, max_size=2).map(_joined),
    )


def sounding_staves(max_events: int = 20) -> st.SearchStrategy[list[Symbol]]:
    """Staves labelled with what sounds; chords in any order."""
    return st.lists(_events(), max_size=max_events).map(lambda groups: [s for group in groups for s in group])


def symbol_salad(max_size: int = 12) -> st.SearchStrategy[list[Symbol]]:
    """Symbols in any order, as an untrained model writes them: joiners at the wrong place too."""
    signs = st.sampled_from((*_SIGNS, Symbol(CHORD)))
    return st.lists(st.one_of(signs, _notes((*_NOTE_RHYTHMS, "gracenote-eighth"))), max_size=max_size)


def vocabulary_salad(vocabulary: Vocabulary, max_size: int = 16) -> st.SearchStrategy[list[Symbol]]:
    """Anything that a model of this vocabulary can write."""
    kinds: dict[str, list[str]] = {}
    for rhythm in vocabulary.rhythm:
        if not rhythm.startswith("["):
            kinds.setdefault(Symbol(rhythm).kind, []).append(rhythm)
    rhythms = st.sampled_from([*kinds, "note", "note", "note", CHORD, BARLINE]).flatmap(
        lambda kind: st.sampled_from(kinds[kind])
    )
    pitches = st.one_of(st.sampled_from(("C4", "D4")), st.sampled_from(vocabulary.pitch[1:]))
    filled = st.builds(
        lambda rhythm, pitch, lift: Symbol(rhythm, pitch, lift) if Symbol(rhythm).is_note else Symbol(rhythm),
        rhythms,
        pitches,
        st.sampled_from(LIFTS),
    )
    return st.lists(filled, max_size=max_size)


_CLEFS = ("G2", "F4", "C3")
_KEYS = ("CM", "DM", "EbM", "C#M")
_METERS = ("C", "C/", "3/4", "12/8")
_VALUES = ("double_whole", "whole", "half.", "quarter", "quarter..", "eighth", "sixteenth.", "hundred_twenty_eighth")
_PITCHES = ("C4", "F4", "B4", "C5", "F5")


@st.composite
def printed_staff(draw: st.DrawFn, measures: int) -> str:
    """A staff of so many measures, as a label says it: chords of one value and of several, ties, signs in place."""
    clef, key = draw(st.sampled_from(_CLEFS)), draw(st.sampled_from(_KEYS))
    words = [f"clef-{clef}", f"keySignature-{key}"]
    if draw(st.booleans()):
        words.append(f"timeSignature-{draw(st.sampled_from(_METERS))}")
    tied = ""  # the pitch into which a tie leads
    for number in range(measures):
        changes = draw(st.sets(st.sampled_from(("key", "meter", "clef")), max_size=1 if number else 0))
        if "key" in changes:
            key = draw(st.sampled_from([other for other in _KEYS if other != key]))
            words.append(f"keySignature-{key}")
        if "meter" in changes:
            words.append(f"timeSignature-{draw(st.sampled_from(_METERS))}")
        if "clef" in changes:
            clef = draw(st.sampled_from([other for other in _CLEFS if other != clef]))
            words.append(f"clef-{clef}")
        if not tied and draw(st.integers(0, 4)) == 0:
            words += [draw(st.sampled_from(("rest-whole", "multirest-3"))), BARLINE]
            continue
        for last in (*[False] * draw(st.integers(0, 3)), True):
            word, pitch = draw(_printed_event(tied))
            words.append(word)
            tied = pitch if pitch and not (last and number + 1 == measures) and draw(st.integers(0, 3)) == 0 else ""
            words += [TIE] if tied else []
        words.append(BARLINE)
    return " ".join(map(str, words))


@st.composite
def _printed_event(draw: st.DrawFn, tied: str) -> tuple[str, str]:
    """A word, and the pitch that a tie may take on from it."""
    value = draw(st.sampled_from(_VALUES)) + draw(st.sampled_from(("", "", "_fermata")))
    if tied:
        return f"note-{tied}_{value}", tied
    kind = draw(st.sampled_from(("note", "note", "chord", "values", "rest", "grace")))
    lifts = st.sampled_from(("", "", *LIFTS))
    pitches = draw(st.lists(st.sampled_from(_PITCHES), min_size=2, max_size=3, unique=True))
    spelled = [f"{pitch[0]}{draw(lifts)}{pitch[1]}" for pitch in pitches]
    if kind == "note":
        return f"note-{spelled[0]}_{value}", pitches[0]
    if kind == "rest":
        return f"rest-{value}", ""
    if kind == "grace":
        grace, main = f"gracenote-{spelled[0]}_sixteenth", f"note-{spelled[1]}_{value}"
        return f"{grace} {main}", pitches[1]
    values = [value] * len(spelled) if kind == "chord" else [draw(st.sampled_from(_VALUES)) for _ in spelled]
    return "|".join(f"note-{note}_{each}" for note, each in zip(spelled, values, strict=True)), ""


@st.composite
def printed_staves(draw: st.DrawFn, staves: int = 1) -> list[Symbol]:
    """A grammatical staff, or those of a grand staff one after the other."""
    measures = draw(st.integers(1, 4))
    return parse(" ".join(draw(printed_staff(measures)) for _ in range(staves)))
