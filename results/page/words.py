"""Symbols and errors in words: what a musician would call them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from datasets.notation import BARLINE, CHORD, FERMATA, Symbol
from results.page.readings import ReadStaff

NOTHING = "nothing"
NO_PITCH = "C0"
"""What `Vocabulary.decode` gives a note that has none: a pitch that no staff has."""
LIFT_SIGNS = {"bb": "𝄫", "b": "♭", "": "", "N": "♮", "#": "♯", "##": "𝄪"}
LIFT_WORDS = {"bb": "double flat", "b": "flat", "": "none", "N": "natural", "#": "sharp", "##": "double sharp"}
_DOTS = ("", "dotted ", "double-dotted ")
_SIGNS = {CHORD: "chord joiner", BARLINE: "bar line", "tie": "tie", "multirest": "rest of several bars"}


def symbol_words(symbol: Symbol | None) -> str:
    """As in `dotted quarter note F♯5`."""
    if symbol is None:
        return NOTHING
    if not symbol.is_note:
        return rhythm_words(symbol.rhythm)
    pitch = "without pitch" if symbol.pitch == NO_PITCH else pitch_words(symbol)
    return f"{rhythm_words(symbol.rhythm)} {pitch}"


def pitch_words(note: Symbol) -> str:
    """As in `F♯5`: with the accidental that is printed."""
    if note.pitch == NO_PITCH:
        return "no pitch"
    return note.pitch[:1] + LIFT_SIGNS[note.lift] + note.pitch[1:]


def rhythm_words(rhythm: str) -> str:
    """A symbol without its pitch, as in `half rest with fermata`."""
    if rhythm in _SIGNS:
        return _SIGNS[rhythm]
    kind, _, form = rhythm.partition("-")
    match kind:
        case "clef":
            return f"{form} clef"
        case "keySignature":
            return f"key signature of {key_words(form)}"
        case "timeSignature":
            return f"time signature {form}"
        case "multirest":
            return f"rest of {form} bar{'s' if form != '1' else ''}"
    held = form.endswith(FERMATA)
    length = form.removesuffix(FERMATA)
    plain = length.rstrip(".")
    name = "grace note" if kind == "gracenote" else kind
    return f"{_DOTS[len(length) - len(plain)]}{plain.replace('_', '-')} {name}{' with fermata' if held else ''}"


def signature_words(symbol: Symbol | None) -> str:
    """A clef, key or meter without its kind: `G2`, `E♭ major`, `3/4`."""
    if symbol is None:
        return NOTHING
    form = symbol.rhythm.partition("-")[2]
    return key_words(form) if symbol.kind == "keySignature" else form


def key_words(form: str) -> str:
    """`EbM` as `E♭ major`: the signature's major key, whatever the piece is in."""
    return f"{form[:-1].replace('b', '♭').replace('#', '♯')} major"


def differences(read: Symbol | None, printed: Symbol | None) -> tuple[str, str]:
    """(printed, read) of an edit, in as many words as tell the two apart."""
    if read is None or printed is None or not (read.is_note and printed.is_note):
        both = (printed, read)
        lone = None in both
        printed_words, read_words = (
            NOTHING if one is None else rhythm_words(one.rhythm) if lone else symbol_words(one) for one in both
        )
        return printed_words, read_words
    if read.rhythm == printed.rhythm:
        return pitch_words(printed), pitch_words(read)
    if (read.pitch, read.lift) == (printed.pitch, printed.lift):
        return rhythm_words(printed.rhythm), rhythm_words(read.rhythm)
    return symbol_words(printed), symbol_words(read)


def edit_list(staff: ReadStaff) -> list[str]:
    """The errors of a staff in their order, as in `bar 2: quarter note D5 read as C5`; equal neighbours are one."""
    told, passed = [], 0
    for pair in staff.pairs:
        if staff.differs(pair):
            place = _place(staff.reference[: passed if pair[1] is None else pair[1]])
            told.append(f"{place}: {_edit_words(*staff.symbols(pair))}")
        passed += pair[1] is not None
    runs = [(words, len(list(run))) for words, run in itertools.groupby(told)]
    return [words if times == 1 else f"{words}, {times} times" for words, times in runs]


def _edit_words(read: Symbol | None, printed: Symbol | None) -> str:
    if printed is None:
        return f"{symbol_words(read)} made up"
    if read is None:
        return f"{symbol_words(printed)} missed"
    short = read.rhythm == printed.rhythm and read.pitch != NO_PITCH
    return f"{symbol_words(printed)} read as {pitch_words(read) if short else symbol_words(read)}"


def _place(before: Sequence[Symbol]) -> str:
    """The bar that comes after these symbols; a lower staff, which a clef and a key open, counts its own."""
    starts = [
        place
        for place in range(1, len(before) - 1)
        if (before[place].kind, before[place + 1].kind) == ("clef", "keySignature")
    ]
    bar = 1 + sum(symbol.rhythm == BARLINE for symbol in before[starts[-1] if starts else 0 :])
    return f"lower staff, bar {bar}" if starts else f"bar {bar}"
