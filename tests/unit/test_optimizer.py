"""The optimiser's kernel, its learning rate, and what an option that is not there says."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
import torch
from torch import nn

from datasets.errors import ConfigError
from omr_model.config import OptimizerConfig
from omr_model.model import TrOMR
from omr_model.optimizer import adamw, decay_groups, learning_rate
from tests.models import SMALL


def rates(steps: int = 20, **fields: object) -> list[float]:
    config = OptimizerConfig(learning_rate=1e-3, warmup=0.2, **fields)
    return [learning_rate(config, step, steps) for step in range(steps)]


def test_the_rate_rises_over_the_warm_up_to_its_peak() -> None:
    for schedule in ("cosine", "linear", "constant"):
        assert rates(schedule=schedule)[:5] == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3])


def test_then_it_falls_as_the_schedule_says() -> None:
    cosine, linear, constant = (rates(schedule=name)[4:] for name in ("cosine", "linear", "constant"))
    assert cosine == sorted(cosine, reverse=True)
    assert cosine[-1] < 2e-5
    assert [one - two for one, two in itertools.pairwise(linear)] == pytest.approx([1e-3 / 16] * 15)
    assert linear[8] == pytest.approx(cosine[8])  # both at half their way
    assert cosine[4] > linear[4]
    assert cosine[12] < linear[12]
    assert set(constant) == {1e-3}


def test_fused_and_plain_kernels_step_to_the_same_weights() -> None:
    stepped = []
    for fused in ("torch", "none"):
        torch.manual_seed(0)
        layer = nn.Linear(5, 3)
        optimizer = adamw(layer, OptimizerConfig(learning_rate=0.1, weight_decay=0.5, fused=fused))
        for _ in range(3):
            optimizer.zero_grad()
            layer(torch.ones(2, 5)).square().sum().backward()
            optimizer.step()
        stepped.append(layer.weight.detach())
    torch.testing.assert_close(*stepped)


def test_every_parameter_is_in_one_group() -> None:
    model = TrOMR(SMALL)
    groups = decay_groups(model, OptimizerConfig())
    listed = [id(weight) for group in groups for weight in group["params"]]  # type: ignore[attr-defined]
    assert sorted(listed) == sorted(id(weight) for weight in model.parameters())


@pytest.mark.skipif(importlib.util.find_spec("apex") is not None, reason="NVIDIA Apex is installed here")
def test_apex_is_refused_where_it_is_not_installed() -> None:
    with pytest.raises(ConfigError, match=r"NVIDIA Apex is not installed; optimizer\.fused=torch"):
        adamw(nn.Linear(2, 2), OptimizerConfig(fused="apex"))


def with_apex(monkeypatch: pytest.MonkeyPatch, gpu: bool) -> None:
    """A package of Apex's form, whose kernel is PyTorch's."""

    class FusedAdam(torch.optim.AdamW):
        def __init__(self, groups: object, lr: float, betas: tuple[float, float], adam_w_mode: bool) -> None:
            assert adam_w_mode
            super().__init__(groups, lr=lr, betas=betas)  # type: ignore[arg-type]

    apex, optimizers = ModuleType("apex"), ModuleType("apex.optimizers")
    apex.__spec__ = ModuleSpec("apex", loader=None)
    optimizers.FusedAdam = FusedAdam  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "apex", apex)
    monkeypatch.setitem(sys.modules, "apex.optimizers", optimizers)
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)


def test_apex_is_used_where_it_is_installed_and_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with_apex(monkeypatch, gpu=True)
    optimizer = adamw(nn.Linear(2, 2), OptimizerConfig(fused="apex", beta1=0.8, weight_decay=0.3))
    assert type(optimizer).__name__ == "FusedAdam"
    assert optimizer.param_groups[0]["weight_decay"] == 0.3
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.999)


def test_apex_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with_apex(monkeypatch, gpu=False)
    with pytest.raises(ConfigError, match="Apex needs a CUDA GPU"):
        adamw(nn.Linear(2, 2), OptimizerConfig(fused="apex"))
