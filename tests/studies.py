"""Study folders as a search would leave them, in miniature: for tests of everything that reads one."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from results.journal import EndState, EpochReported, Event, Journal, Parameter, TrialEnded, TrialStarted
from results.provenance import CodeVersion, Hardware, Provenance
from results.schema import ERROR_CLASSES, LOSS_BRANCHES, SAMPLES
from results.study import CorpusRecord, StudyRecord, write_study

START = 1_700_000_000.0
SECONDS_PER_EPOCH = 60.0
WORKS, STAVES_PER_WORK = 8, 3
REFERENCE = "clef-G2 keySignature-DM timeSignature-4/4 note-F4_quarter note-A4_quarter note-D5_half barline"


@dataclass(frozen=True)
class FakeTrial:
    """A trial with its SER after each epoch; `state` None is one that still runs, `origin` "base" is the base.

    `repeats` is the number of the trial whose setting it trains again; `seed` None is one of its own; `more` metrics
    replace those of every epoch.
    """

    number: int
    sers: tuple[float, ...]
    state: EndState | None = "completed"
    params: dict[str, Parameter] = field(default_factory=lambda: {"model.decoder.dropout": 0.1})
    origin: str = ""
    repeats: int | None = None
    seed: int | None = None
    more: dict[str, float] = field(default_factory=dict)

    @property
    def trial_id(self) -> str:
        return f"fake_{self.number:05d}"


def study_record(name: str = "demo", parameters: Sequence[str] = ("model.decoder.dropout",)) -> StudyRecord:
    """What `study.json` says of a made-up study."""
    return StudyRecord(
        name=name,
        created="2024-04-26T08:00:00+00:00",
        provenance=Provenance(
            code=CodeVersion(commit="9e2c14122607a63c25253d1c5378c706859395ab", run_number=77, dirty=True),
            python="3.11.7",
            packages={"omr-search": "0.1.0", "torch": "2.11.0"},
            platform="Linux",
            hardware=Hardware(cpu="A CPU", cores=2, memory_bytes=8 * 2**30, gpus=("A GPU", "A GPU")),
            command_line="python -m search.run space=dropout",
            time="2024-04-26T08:00:00+00:00",
        ),
        config={"model": {"decoder": {"depth": 4, "dropout": 0.0}}, "train": {"betas": [0.9, 0.999]}},
        space=("dropout",),
        roles=dict.fromkeys(parameters, "scientific"),
        corpus=CorpusRecord(name="engraved", path="datasets/corpora/engraved", hash="0123456789abcdef"),
        seed=7,
        max_epochs=3,
    )


def make_study(
    studies: Path,
    trials: Sequence[FakeTrial],
    *,
    name: str = "demo",
    parameters: Sequence[str] = ("model.decoder.dropout",),
    checkpoints: bool = True,
) -> Path:
    """Write `studies/name` with its journal, and a checkpoint after each trial's last epoch; the folder."""
    folder = studies / name
    write_study(folder, study_record(name, parameters))
    journal = Journal(folder / "events.jsonl")
    for trial in trials:
        for event in events_of(trial, checkpoints=checkpoints):
            journal.append(event)
        if checkpoints and trial.sers:
            make_checkpoint(folder / checkpoint_of(trial), len(trial.sers), trial.sers[-1], seed=trial.number)
    return folder


def unloadable(*_: object) -> NoReturn:
    """In place of `results.read_back._load`: the weights of a pretended trial are none, and nobody is to find out."""
    raise ModuleNotFoundError("No module named 'torch'")


def checkpoint_of(trial: FakeTrial) -> str:
    """Where `make_study` puts a trial's checkpoint, relative to the study folder."""
    return f"checkpoints/{trial.trial_id}"


def events_of(trial: FakeTrial, *, checkpoints: bool = False) -> list[Event]:
    """Everything that a trial leaves in the journal."""
    clock = START + 1000 * trial.number
    events: list[Event] = [
        TrialStarted(
            trial.trial_id,
            trial.number,
            trial.number + 100 if trial.seed is None else trial.seed,
            trial.params,
            clock,
            trial.origin,
            trial.repeats,
        )
    ]
    for epoch, ser in enumerate(trial.sers, start=1):
        clock += SECONDS_PER_EPOCH
        saved = checkpoint_of(trial) if checkpoints and epoch == len(trial.sers) else None
        events.append(EpochReported(trial.trial_id, metrics(epoch, ser) | trial.more, saved, clock))
    if trial.state is not None:
        events.append(TrialEnded(trial.trial_id, trial.state, f"{trial.state} for a test", clock + 1))
    return events


def metrics(epoch: int, ser: float) -> dict[str, float]:
    """One epoch's numbers, as the trainer reports them."""
    losses = {"": 0.9 * ser} | {f"_{branch}": (1 + place) * ser / 4 for place, branch in enumerate(LOSS_BRANCHES)}
    shares = np.random.default_rng(epoch).dirichlet(np.ones(len(ERROR_CLASSES)))
    return {
        "epoch": float(epoch),
        **{f"train_loss{part}": 0.8 * loss for part, loss in losses.items()},
        **{f"validation_loss{part}": loss + 0.01 * epoch for part, loss in losses.items()},
        "ser": ser,
        "ser_rhythm": 0.6 * ser,
        "ser_pitch": 0.5 * ser,
        "ser_lift": 0.3 * ser,
        **{f"ser_class_{name}": ser * float(share) for name, share in zip(ERROR_CLASSES, shares, strict=True)},
        "log_ser": 1.1 * ser,
        "learning_rate": 1e-4 / epoch,
        "samples_seen": 320.0 * epoch,
        "samples_per_second": 50.0,
        "seconds": SECONDS_PER_EPOCH,
        "data_seconds": 1.5,
        "gpu_seconds": SECONDS_PER_EPOCH,
        "peak_memory_bytes": 1e9 + epoch,
    }


def make_checkpoint(folder: Path, epoch: int, ser: float, seed: int = 0, read: bool = True) -> None:
    """A checkpoint folder: weights of a few bytes, and, if it has read anything, samples whose SER is about `ser`."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes([seed % 256]) * 64)
    description = {"format": 1, "epoch": epoch, "config": {"model": {"decoder": {"dropout": 0.1}}}}
    (folder / "checkpoint.json").write_text(json.dumps(description), encoding="utf-8")
    if read:
        pq.write_table(samples(epoch, ser, seed), folder / "samples.parquet")


def samples(epoch: int, ser: float, seed: int = 0) -> pa.Table:
    """Predictions that break off too early, a row a staff; nothing at all is read where `ser` is no number."""
    missed = 1.0 if math.isnan(ser) else min(ser, 1.0)
    rng = np.random.default_rng(seed)
    symbols = REFERENCE.split()
    rows = []
    for staff in range(WORKS * STAVES_PER_WORK):
        missing = int(rng.binomial(len(symbols), missed))
        classes = dict.fromkeys((f"distance_{name}" for name in ERROR_CLASSES), 0)
        rows.append(
            {
                "epoch": epoch,
                "staff_id": f"staff-{staff}",
                "work": f"work-{staff // STAVES_PER_WORK}",
                "source": "engraved",
                "distance": missing,
                "reference_length": len(symbols),
                "prediction": " ".join(symbols[: len(symbols) - missing]),
                "confidences": [1 / (2 + place) for place in range(len(symbols) - missing)],
                "reference": REFERENCE,
                **classes,
                "distance_notes": missing,
            }
        )
    return pa.Table.from_pylist(rows, pa.schema([field for field in SAMPLES if field.name in rows[0]]))
