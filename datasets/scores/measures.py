"""A single staff between score and label: measures of symbols, and runs of them cut out as staves of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datasets.notation import BARLINE, KEYS, STEPS, Symbol

_NO_SHARPS = KEYS.index("CM")


@dataclass(frozen=True)
class Measure:
    """One measure of a single staff.

    Attributes:
        clef, key: the symbols in force at its start, whether or not they are printed there.
        changes: clef, key and meter symbols that the score prints at its start.
        symbols: its contents without a closing barline.
        beams: pairs (first, last) of indices into `symbols`, both included.
        open_tie: index of the tie that leads into the next measure, or None.
        problem: why the encoding cannot say this measure; "" where it can.
    """

    clef: Symbol
    key: Symbol
    changes: tuple[Symbol, ...]
    symbols: tuple[Symbol, ...]
    beams: tuple[tuple[int, int], ...] = ()
    open_tie: int | None = None
    problem: str = ""


@dataclass(frozen=True)
class StaffRun:
    """The label of one staff, and the beams that engraving it takes: (first, last) indices into `symbols`."""

    symbols: tuple[Symbol, ...]
    beams: tuple[tuple[int, int], ...] = ()


def cut(measures: Sequence[Measure]) -> StaffRun:
    """A run of consecutive measures as a staff of its own.

    A clef and a key signature open it, `keySignature-CM` where no accidental is printed, as in PrIMuS and CPMS; the
    meter stands only where the score shows it, on its first staff and at a change. A tie into what follows is dropped.
    """
    first = measures[0]
    opening = {symbol.kind: symbol for symbol in (first.clef, first.key, *first.changes)}
    symbols = [opening[kind] for kind in ("clef", "keySignature", "timeSignature") if kind in opening]
    beams: list[tuple[int, int]] = []
    for measure in measures:
        if measure is not first:
            symbols += measure.changes
        shift = len(symbols)
        symbols += measure.symbols
        beams += [(start + shift, end + shift) for start, end in measure.beams]
        if measure is measures[-1] and measure.open_tie is not None:
            del symbols[shift + measure.open_tie]
        symbols.append(Symbol(BARLINE))
    return StaffRun(tuple(symbols), tuple(beams))


def staff_step(pitch: str) -> int:
    """Diatonic steps above C0 of a pitch such as `B4`: neighbours on the staff differ by one."""
    return STEPS.index(pitch[0]) + 7 * int(pitch[1:])


def key_symbol(sharps: int) -> Symbol:
    """The signature with so many sharps, or flats where negative."""
    return Symbol(f"keySignature-{KEYS[sharps + _NO_SHARPS]}")


def key_sharps(key: Symbol) -> int:
    """The inverse of `key_symbol`."""
    return KEYS.index(key.rhythm.removeprefix("keySignature-")) - _NO_SHARPS
