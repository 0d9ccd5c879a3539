"""Learning curves of real trainings, for the simulations: `python -m tests.benchmarks.record_curves`.

Every setting of a small grid once, with the study's seed, and the base with more seeds, on the embedded corpus with
the tiny model. Each training is a file of its own in `to`, so the recording can be stopped and goes on; `merge=true`
makes `tests/benchmarks/recorded/` of them:

    curves.parquet    a row an epoch: the setting, the seed, and every metric that the trainer reports
    works.parquet     a row a work, of each training's last epoch: staves, edit distance and reference length
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from datasets.command_line import main
from datasets.files import write_atomically
from datasets.prepare import prepare
from datasets.prepare_config import PrepareConfig
from omr_model.config import replace_fields
from omr_model.presets import PRESETS
from results.provenance import collect

RECORDED = Path(__file__).parent / "recorded"
RATE, WEIGHT_DECAY = "optimizer.learning_rate", "optimizer.weight_decay"
DROPOUT = ("model.decoder.dropout", "model.backbone.drop_rate")
LEVELS: dict[str, list[Any]] = {
    "rate": [5e-4, 1e-3, 2e-3],
    "dropout": [0.0, 0.1, 0.2, 0.4],
    "weight_decay": [0.01, 0.1],
    "focal_gamma": [0.0, 4.0],  # 0: no focal loss
}
BASE = {"rate": 1e-3, "dropout": 0.0, "weight_decay": 0.01, "focal_gamma": 0.0}
"""The tiny preset's own."""
SEEDS = 17


@dataclass(frozen=True)
class RecordConfig:
    """Attributes.

    to: folder of what is recorded, a file a training.
    processes: trainings side by side, of one thread each.
    epochs, staves: of a training, and of an epoch.
    merge: record nothing, make `recorded/` of what there is.
    """

    to: str = "recording"
    processes: int = 2
    epochs: int = 8
    staves: int = 1_200
    merge: bool = False


@dataclass(frozen=True)
class Run:
    """One training: where it goes, what it trains on, the setting and the seed."""

    path: Path
    corpus: Path
    setting: dict[str, Any]
    seed: int
    epochs: int
    staves: int


def settings() -> list[dict[str, Any]]:
    """The grid."""
    return [dict(zip(LEVELS, values, strict=True)) for values in itertools.product(*LEVELS.values())]


def fields(setting: dict[str, Any]) -> dict[str, Any]:
    """What a setting says by its place in the configuration."""
    focal = {"loss.focal_gamma": setting["focal_gamma"], "loss.focal_alpha": 0.4} if setting["focal_gamma"] else {}
    return {
        RATE: setting["rate"],
        WEIGHT_DECAY: setting["weight_decay"],
        **dict.fromkeys(DROPOUT, setting["dropout"]),
        **focal,
    }


def record(config: RecordConfig) -> None:
    """Train what is not recorded yet, or merge what is."""
    folder = Path(config.to)
    if config.merge:
        merge(folder)
        return
    corpus = prepare(PrepareConfig(data="engraved", staff="short")).path
    folder.mkdir(parents=True, exist_ok=True)
    grid = [(setting, 0) for setting in settings()]
    again = [(BASE, seed) for seed in range(1, SEEDS)]
    wanted = [
        Run(folder / f"{_name(setting)}-{seed}.json", corpus, setting, seed, config.epochs, config.staves)
        for setting, seed in [*again, *grid]
    ]
    missing = [run for run in wanted if not run.path.exists()]
    os.environ["OMP_NUM_THREADS"] = "1"
    with multiprocessing.get_context("spawn").Pool(config.processes, maxtasksperchild=None) as pool:
        for number, path in enumerate(pool.imap_unordered(train, missing), start=1):
            print(f"{number} of {len(missing)}: {path.name}", flush=True)


def train(run: Run) -> Path:
    """One training, written when it is over."""
    import torch

    from datasets.shards import PreparedCorpus
    from omr_model.data import StaffDataset
    from omr_model.trainer import Trainer

    torch.set_num_threads(1)
    tiny = PRESETS["tiny"]
    train = replace(tiny.train, epochs=run.epochs, staves_per_epoch=run.staves, seed=run.seed, device="cpu")
    corpus = PreparedCorpus.open(run.corpus)
    trainer = Trainer(replace_fields(replace(tiny, train=train), fields(run.setting)), corpus)
    epochs = [record.metrics() for record in trainer.fit()]
    trainer.validation = StaffDataset(corpus.staves("validation"), trainer.data.vocabulary)  # all of them
    staves = [
        {
            "work": staff.work,
            "staves": 1,
            "distance": staff.score.total.distance,
            "length": staff.score.total.length,
            **{f"distance_{name}": count for name, count in staff.score.by_class.items()},
        }
        for staff in trainer.evaluate().staves
    ]
    works = _without_gaps(pd.DataFrame(staves)).groupby("work", as_index=False).sum()
    tree = {
        "setting": run.setting,
        "seed": run.seed,
        "corpus": corpus.manifest.content_hash,
        "code": str(collect().code),
        "epochs": epochs,
        "works": works.to_dict("records"),
    }
    write_atomically(run.path, json.dumps(tree).encode())
    return run.path


def merge(folder: Path) -> None:
    """One table of the epochs and one of the works."""
    trees = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    tables: dict[str, list[dict[str, Any]]] = {"epochs": [], "works": []}
    for tree in trees:
        what = {**tree["setting"], "seed": tree["seed"], "corpus": tree["corpus"], "code": tree["code"]}
        for name, rows in tables.items():
            rows += [{**what, **row} for row in tree[name]]
    RECORDED.mkdir(exist_ok=True)
    for name, rows in tables.items():
        frame = _without_gaps(pd.DataFrame(rows))
        frame.to_parquet(RECORDED / f"{'curves' if name == 'epochs' else name}.parquet", compression="zstd")
    print(f"{len(trees)} trainings in {RECORDED}")


def _without_gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """Classes of which there was no error are missing, and count 0; a SER that is missing stays missing."""
    counts = [name for name in frame.columns if name.startswith(("distance_", "ser_class_"))]
    return frame.fillna(dict.fromkeys(counts, 0))


def _name(setting: dict[str, Any]) -> str:
    return "_".join(f"{name}={value:g}" for name, value in setting.items())


if __name__ == "__main__":
    main(record, RecordConfig())
