"""Music for property tests: staves as lists of symbols, biased towards what makes accidentals difficult."""

from __future__ import annotations

from hypothesis import strategies as st

from datasets.notation import BARLINE, CHORD, TIE, Symbol

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
