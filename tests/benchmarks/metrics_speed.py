"""`python -m tests.benchmarks.metrics_speed`: how long the symbol error rate of a large corpus takes, on one core.

Staves of some 20 symbols, of which most are read right and the others come to a SER of about a tenth. Each way is timed
in turns with its reference, by the process's own clock: `editdistance` for the corpus-level SER alone (both are given
numbers for symbols), `score_staff` for all parts and classes, which gets a part of the staves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import process_time

import editdistance
import numpy as np

from datasets.command_line import main
from datasets.notation import LIFTS, Symbol
from omr_model.corpus_scores import score_staves
from omr_model.edit_distances import distances
from omr_model.metrics import score_staff, summarize
from tests.benchmarks.ratio import paired
from tests.rows import rows_of

_SIGNS = ("clef-G2", "keySignature-DM", "timeSignature-3/4", "barline", "rest-quarter", "tie", "|")
_RHYTHMS = ("note-quarter", "note-eighth", "note-half.")


@dataclass(frozen=True)
class SpeedConfig:
    """Attributes.

    staves: of the corpus.
    wrong: share of the staves that are not read right.
    errors: mean symbols changed, left out or made up in each of these.
    part: staves that the reference of the whole score gets, which takes long.
    rounds: of both ways.
    seed: of all that is drawn.
    """

    staves: int = 100_000
    wrong: float = 0.4
    errors: float = 5.0
    part: int = 2_000
    rounds: int = 5
    seed: int = 0


def drawn(config: SpeedConfig) -> tuple[list[list[Symbol]], list[list[Symbol]]]:
    """Predictions and references; no symbol is one object with another, as where each was parsed."""
    rng = np.random.default_rng(config.seed)
    notes = [Symbol(rhythm, f"{step}{octave}") for rhythm in _RHYTHMS for step in "CDEFGAB" for octave in (4, 5)]
    words = [*map(Symbol, _SIGNS), *(replace(note, lift=lift) for note in notes for lift in LIFTS)]

    def some(count: int) -> list[Symbol]:
        return [words[place] for place in rng.integers(len(words), size=count)]

    def misread(staff: list[Symbol]) -> list[Symbol]:
        read = list(staff)
        for _ in range(max(1, rng.poisson(config.errors))):
            start = int(rng.integers(len(read) + 1))
            read[start : start + int(rng.integers(2))] = some(int(rng.integers(2)))
        return read

    true = [some(int(count)) for count in rng.integers(15, 26, size=config.staves)]
    read = [misread(staff) if rng.random() < config.wrong else staff for staff in true]
    return [[replace(symbol) for symbol in staff] for staff in read], true


def measure(config: SpeedConfig) -> None:
    """Print each way's seconds of one core, and how many times as quick it is as its reference."""
    read, true = drawn(config)
    edits = score_staves(read, true).total.sum
    right = sum(one == other for one, other in zip(read, true, strict=True))
    print(
        f"{config.staves:,} staves of {edits.length / config.staves:.1f} symbols, SER {edits.rate:.3f}, {right:,} right"
    )
    numbers = {symbol: number for number, symbol in enumerate({symbol for staff in [*read, *true] for symbol in staff})}
    codes = [[[numbers[symbol] for symbol in staff] for staff in staves] for staves in (read, true)]
    rows = [rows_of(staves) for staves in codes]

    def staff_by_staff() -> int:
        return sum(editdistance.eval(*pair) for pair in zip(*codes, strict=True))

    assert staff_by_staff() == edits.distance == int(distances(*rows).sum())
    settings = {"rounds": config.rounds, "clock": process_time}
    print(paired("SER alone, of codes", staff_by_staff, lambda: distances(*rows), **settings))  # type: ignore[arg-type]
    part = (read[: config.part], true[: config.part])
    assert [score_staff(*pair) for pair in zip(*part, strict=True)] == score_staves(*part).of_staves()
    name = f"all parts and classes, of {config.part:,} staves"
    one_by_one = lambda: summarize([score_staff(*pair) for pair in zip(*part, strict=True)])  # noqa: E731
    print(paired(name, one_by_one, lambda: summarize(score_staves(*part).of_staves()), **settings))  # type: ignore[arg-type]
    for what, work in (
        ("all parts and classes", lambda: score_staves(read, true)),
        ("and an object a staff, and their summary", lambda: summarize(score_staves(read, true).of_staves())),
    ):
        began = process_time()
        work()
        print(f"{what}, of {config.staves:,} staves: {process_time() - began:.2f} s of one core")


if __name__ == "__main__":
    main(measure, SpeedConfig())
