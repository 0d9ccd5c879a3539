"""Which device a training takes, alone and as one of several processes, and when those meet."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from datasets.command_line import parse
from datasets.errors import ConfigError
from omr_model import train
from omr_model.device import resolve_device
from omr_model.parallel import BY_ITSELF, Parallel, StoppedError


def test_each_of_several_processes_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    second = Parallel(1, 2, local=1)
    assert second.device(torch.device("cuda")) == torch.device("cuda", 1)
    assert chosen == [torch.device("cuda", 1)]
    with pytest.raises(
        ConfigError, match=r"^train\.device=cuda:0: 2 processes train together, .* say train\.device=cuda,"
    ):
        second.device(torch.device("cuda", 0))
    with pytest.raises(ConfigError, match=r"^train\.device=cuda:2: this machine has 2 CUDA GPUs, cuda:0 to cuda:1$"):
        Parallel(2, 3, local=2).device(torch.device("cuda"))
    assert BY_ITSELF.device(torch.device("cuda", 1)) == torch.device("cuda", 1)


@pytest.mark.parametrize(
    ("gpus", "name", "message"),
    [
        (0, "cuda", "this machine has no CUDA GPU; there is cpu"),
        (1, "cuda:7", "this machine has one CUDA GPU, cuda:0"),
        (4, "cuda:4", "this machine has 4 CUDA GPUs, cuda:0 to cuda:3"),
        (1, "cuda:x", "there are auto, cpu, cuda and cuda:N"),
    ],
)
def test_a_gpu_that_is_not_there_is_refused(
    gpus: int, name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(ConfigError, match=f"^train.device={name}: {message}$"):
        resolve_device(name)


def test_a_corpus_is_prepared_before_the_processes_meet(
    corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a group nobody waits for longer than half an hour; a corpus may take more."""
    done: list[str] = []

    def stop(*_: object, **__: object) -> None:
        done.append("met")
        raise StoppedError

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(train, "prepare", lambda _: done.append("prepared"))
    monkeypatch.setattr("torch.distributed.init_process_group", stop)
    words = [f"to={tmp_path / 'new'}", f"corpora={corpora}", "preset=tiny", "train.device=cpu"]
    with pytest.raises(StoppedError):
        train.train(parse(train.default_job(words), words))
    assert done == ["prepared", "met"]
