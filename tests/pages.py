"""Studies as a page has to show them: many trials of every state, conditions, repeats, several sessions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from results.journal import Event, Parameter, SessionEnded, SessionStarted, to_line
from results.study import StudyRecord, write_study
from tests.studies import FakeTrial, checkpoint_of, events_of, make_checkpoint, study_record

CHROMIUM_ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
]

RATE, DEPTH, DROPOUT, KIND, CUTOFF = (
    "optimizer.learning_rate",
    "model.decoder.depth",
    "model.decoder.dropout",
    "train.dropout.schedule",
    "train.dropout.cutoff",
)
EPOCHS, FIRST_RUNG = 9, 3
CONFIRM: dict[str, float | int] = {"top": 1, "rounds": 2, "worthwhile": 0.01}
BUDGET: dict[str, float | int | None] = {"trials": 60, "epochs": None, "hours": None, "gpu_hours": None}


def varied_study(studies: Path, trials: int = 60, name: str = "varied", checkpoints: bool = True) -> Path:
    """A search with a scheduler over five parameters, the base, and two rounds of repeats; the folder."""
    made = list(varied_trials(trials))
    again = SessionStarted(2, "run 78", f"python -m search.run resume={name}", BUDGET, ["the code"], 1.7e9 + 9, CONFIRM)
    return _written(studies / name, made, [SessionEnded("interrupted", 900.0, 1.7e9 + 900), again], checkpoints)


def stopped_study(studies: Path, name: str = "stopped") -> Path:
    """A search of which only the base was trained to its end, so that nothing was trained again; the folder."""
    made = [
        trial if trial.number == 0 else dataclasses.replace(trial, sers=trial.sers[:FIRST_RUNG], state="pruned")
        for trial in varied_trials(7)
        if trial.repeats is None
    ]
    return _written(studies / name, made, [SessionEnded("finished", 900.0, 1.7e9 + 900)])


def even_study(studies: Path, name: str = "even") -> Path:
    """A search whose trials were all trained to the end, and all to the same SER; the folder."""
    own = [trial for trial in varied_trials(5) if trial.repeats is None]
    made = [dataclasses.replace(trial, sers=(0.5, 0.4, 0.3), state="completed") for trial in own]
    return _written(studies / name, made, [SessionEnded("finished", 900.0, 1.7e9 + 900)])


def _written(folder: Path, made: Sequence[FakeTrial], after: Sequence[Event], checkpoints: bool = True) -> Path:
    """A study of these trials: its first session, they, and what came after them."""
    write_study(folder, _record(folder.name))
    started = SessionStarted(1, "run 77", "python -m search.run space=demo", BUDGET, [], 1.7e9, CONFIRM)
    own = [event for trial in made for event in events_of(trial, checkpoints=checkpoints)]
    (folder / "events.jsonl").write_text("".join(map(to_line, [started, *own, *after])), encoding="utf-8")
    for trial in made if checkpoints else []:
        if trial.sers:
            make_checkpoint(folder / checkpoint_of(trial), len(trial.sers), trial.sers[-1], seed=trial.number)
    return folder


def varied_trials(count: int) -> Iterator[FakeTrial]:
    """The base, trials whose SER the learning rate decides, and repeats of the base and the best."""
    rng = np.random.default_rng(3)
    found: list[FakeTrial] = []
    for number in range(count):
        params = _base_setting() if number == 0 else _drawn(rng)
        sers = _learnt(params, rng)
        state: Any = "completed"
        if number and sers[FIRST_RUNG - 1] > 0.5:
            sers, state = sers[:FIRST_RUNG], "pruned"
        elif number % 17 == 5:
            sers, state = sers[: number % 3], "failed"
        elif number % 23 == 7:
            sers, state = (*sers[:2], math.inf), "diverged"
        elif number == count - 1 and number:
            sers, state = sers[:4], None
        found.append(FakeTrial(number, sers, state, params, "base" if number == 0 else "", seed=0, more=_spent(params)))
    yield from found
    done = [trial for trial in found[1:] if trial.state == "completed"]
    best = min(done, key=lambda trial: trial.sers[-1], default=None)
    for turn in range(4) if best else ():
        again = found[0] if turn % 2 == 0 else best
        sers = tuple(ser * rng.normal(1.02, 0.02) for ser in again.sers)
        yield FakeTrial(count + turn, sers, "completed", again.params, repeats=again.number, more=again.more)


def _record(name: str) -> StudyRecord:
    roles = {RATE: "nuisance", DEPTH: "scientific", DROPOUT: "scientific", KIND: "scientific", CUTOFF: "nuisance"}
    plain = {
        "also": [],
        "step": None,
        "choices": [],
        "options": {},
        "when": {},
        "low": None,
        "high": None,
        "log": False,
    }
    parameters = {
        "rate": {**plain, "target": RATE, "kind": "float", "low": 1e-4, "high": 1e-2, "log": True},
        "depth": {**plain, "target": DEPTH, "kind": "int", "low": 2, "high": 8},
        "dropout": {**plain, "target": DROPOUT, "kind": "float", "low": 0.0, "high": 0.5},
        "schedule": {**plain, "target": KIND, "kind": "categorical", "choices": ["early", "late", "standard"]},
        "cutoff": {**plain, "target": CUTOFF, "kind": "float", "low": 0.3, "high": 0.9, "when": {"schedule": "early"}},
    }
    space = {"parameters": {key: {**one, "role": roles[str(one["target"])]} for key, one in parameters.items()}}
    record = study_record(name, list(roles))
    scheduler = {"name": "asha", "grace_epochs": FIRST_RUNG, "reduction_factor": 3}
    config = {**record.config, "space": space, "scheduler": scheduler, "confirm": CONFIRM}
    return dataclasses.replace(record, roles=roles, config=config, max_epochs=EPOCHS)


def _base_setting() -> dict[str, Parameter]:
    return {RATE: 1e-3, DEPTH: 4, DROPOUT: 0.1, KIND: "standard", CUTOFF: None}


def _drawn(rng: np.random.Generator) -> dict[str, Parameter]:
    kind = str(rng.choice(["early", "late", "standard"]))
    return {
        RATE: float(10 ** rng.uniform(-4, -2)),
        DEPTH: int(rng.integers(2, 9)),
        DROPOUT: float(rng.uniform(0, 0.5)),
        KIND: kind,
        CUTOFF: float(rng.uniform(0.3, 0.9)) if kind == "early" else None,
    }


def _learnt(params: dict[str, Parameter], rng: np.random.Generator) -> tuple[float, ...]:
    """Nearer to a learning rate of 2e-3, and with a dropout near 0.2, the SER ends lower."""
    rate, dropout = float(params[RATE] or 0), float(params[DROPOUT] or 0)
    end = 0.12 + 0.25 * abs(math.log10(rate) + 2.7) + 0.3 * abs(dropout - 0.2) + abs(rng.normal(0, 0.01))
    return tuple(end + (0.95 - end) * 0.6**epoch * rng.uniform(0.9, 1.1) for epoch in range(1, EPOCHS + 1))


def _spent(params: dict[str, Parameter]) -> dict[str, float]:
    seconds = 300.0 + 60 * float(params[DEPTH] or 0)
    return {"seconds": seconds, "gpu_seconds": seconds, "energy_joules": 250 * seconds, "peak_memory_bytes": 6.1e9}


def every_block(blocks: Sequence[Any]) -> Iterator[Any]:
    """The blocks, and those in folds and rows."""
    for block in blocks:
        yield block
        yield from every_block(getattr(block, "blocks", []))
