"""What a trial reports when it ends without an epoch, and from which checkpoints it goes on."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from datasets.errors import CorpusError, DivergedError
from datasets.shards import PreparedCorpus
from omr_model.config import TrainingConfig
from search.engine import trial
from search.engine.corpus_cache import kept_corpus
from search.engine.trial import TrialJob, train_trial


def ended(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Tune is told of a training that ends in an error."""
    told: list[dict[str, Any]] = []

    def train(*_: object) -> None:
        raise error

    monkeypatch.setattr(trial, "_train", train)
    monkeypatch.setattr(trial.tune, "report", told.append)
    train_trial({}, TrialJob(TrainingConfig(), tmp_path, 1, tmp_path))
    [result] = told
    return {name: value for name, value in result.items() if name not in ("epoch", "ser")}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DivergedError("no number"), {"diverged": "no number"}),
        (RuntimeError("shapes\n  do not fit"), {"failed": "RuntimeError: shapes"}),
        (RuntimeError("CUDA out of memory. Tried"), {"failed": "RuntimeError: CUDA out of memory. Tried"}),
        (OSError(errno.ENOMEM, "no memory"), {"failed": "OSError: [Errno 12] no memory"}),
        (OSError(errno.ENOSPC, "no room"), {"disk_full": "OSError: [Errno 28] no room"}),
        (OSError(errno.EROFS, "read-only"), {"cut_off": "OSError: [Errno 30] read-only"}),
        (FileNotFoundError(errno.ENOENT, "gone"), {"cut_off": "FileNotFoundError: [Errno 2] gone"}),
        (CorpusError("the shard is gone"), {"cut_off": "CorpusError: the shard is gone"}),
    ],
)
def test_whose_fault_an_error_is(
    error: Exception, expected: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ended(error, tmp_path, monkeypatch) == expected


def test_a_process_that_has_lost_its_gpu_trains_no_other_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = RuntimeError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA")
    with pytest.raises(RuntimeError, match=r"^RuntimeError: CUDA error: device-side assert triggered$"):
        ended(lost, tmp_path, monkeypatch)


def test_after_an_exchange_it_goes_back_to_what_it_took_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("checkpoint_000002", "checkpoint_000003", "checkpoint_of_trial_7_after_4"):
        (tmp_path / name).mkdir()
    taken = tmp_path / "checkpoint_of_trial_7_after_4"

    def newest(name: str | None, **config: Any) -> list[str]:
        latest = None if name is None else SimpleNamespace(path=str(tmp_path / name))
        monkeypatch.setattr(trial.tune, "get_checkpoint", lambda: latest)
        return [folder.name for folder in trial._checkpoints({"checkpoints": [str(taken)], **config})]

    exchanged = {"adopted": 7, "exchanged": "checkpoint_000003"}
    assert newest(None) == [taken.name]
    assert newest(taken.name, **exchanged) == [taken.name]
    for name in ("checkpoint_000004", "checkpoint_000005"):
        (tmp_path / name).mkdir()
    assert newest("checkpoint_000005", **exchanged) == ["checkpoint_000005", "checkpoint_000004", taken.name]
    assert newest("checkpoint_000003") == ["checkpoint_000003", "checkpoint_000002", taken.name]


def test_no_trial_of_a_study_learns_from_another_corpus(
    corpus: PreparedCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was prepared anew under its name while the search ran."""
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(trial.tune, "report", told.append)
    monkeypatch.setattr(trial.tune, "get_checkpoint", lambda: None)
    job = TrialJob(TrainingConfig(), corpus.path, 1, tmp_path, corpus_hash="0" * 64)
    train_trial({"settings": {}, "seed": 1, "checkpoints": []}, job)
    [result] = told
    assert f"{corpus.path.name} is another corpus than the study's: 000000000000 when" in result["cut_off"]
    assert kept_corpus(corpus.path, corpus.manifest.content_hash).path == corpus.path
