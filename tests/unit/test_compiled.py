"""Regions of a model, captured by torch.compile, compute what the model does; kernels chosen for speed too."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from datasets.vocabulary import vocabulary
from omr_model.compiled import compile_regions, pays, uncompiled
from omr_model.config import LossConfig, ModelConfig
from omr_model.device import has_bf16_instructions, supported_precision
from omr_model.kernels import choose_kernels
from omr_model.loss import TrOMRLoss
from omr_model.model import Batch, TrOMR
from tests.models import SMALL, random_batch

CPU = torch.device("cpu")
DEEPER = dataclasses.replace(
    SMALL,
    encoder=dataclasses.replace(SMALL.encoder, depth=2),
    decoder=dataclasses.replace(SMALL.decoder, depth=2, attention_on_attention=True),
)


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def built(config: ModelConfig) -> tuple[TrOMR, TrOMRLoss]:
    torch.manual_seed(0)
    return TrOMR(config).train(), TrOMRLoss(LossConfig(focal_gamma=2.0), vocabulary(config.vocabulary))


def learned(model: TrOMR, loss: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """The loss, and all gradients in a row."""
    model.zero_grad()
    total: Tensor = loss(model(batch), batch).total
    total.backward()
    return total.detach(), torch.cat(
        [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
    )


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own, as it traces
def test_regions_learn_what_the_whole_does() -> None:
    """Without generated code, for which a machine without a compiler has no use: the regions, and their shapes."""
    batches = [random_batch(DEEPER, symbols=symbols) for symbols in (4, 6)]
    model, loss = built(DEEPER)
    expected = [learned(model, loss, batch) for batch in batches]
    names = list(model.state_dict())
    model, loss = built(DEEPER)
    compile_regions(model, loss, backend="eager")
    for batch, (total, gradients) in zip(batches, expected, strict=True):
        own_total, own_gradients = learned(model, loss, batch)
        torch.testing.assert_close(own_total, total)
        torch.testing.assert_close(own_gradients, gradients, rtol=1e-4, atol=1e-5)
    assert list(model.state_dict()) == names
    assert not counters["graph_break"]
    # Backbone, encoder's block, three of the decoder, loss; twice the depth makes no more of them. The first of a
    # region's lengths may be compiled on its own.
    assert 6 <= counters["stats"]["unique_graphs"] <= 10


@pytest.mark.usefixtures("fresh_compiler")
def test_an_evaluation_compiles_nothing() -> None:
    model, loss = built(SMALL)
    expected = model.eval()(random_batch()).rhythm
    compile_regions(model, loss, backend="eager")
    with uncompiled():
        torch.testing.assert_close(model(random_batch()).rhythm, expected, rtol=0, atol=0)
    assert counters["stats"]["unique_graphs"] == 0
    assert not pays(CPU)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_attention_written_out_is_the_fused_one(dropout: float) -> None:
    encoder = dataclasses.replace(DEEPER.encoder, attention_dropout=dropout)
    config = dataclasses.replace(DEEPER, encoder=encoder)
    model, _ = built(config)
    fused = model.eval()(random_batch(config))
    choose_kernels(model, CPU, "bf16")
    written_out = model(random_batch(config))
    for (_, own), (name, other) in zip(written_out.items(), fused.items(), strict=True):
        torch.testing.assert_close(own, other, msg=name)


def test_it_is_written_out_in_bf16_on_a_cpu_alone() -> None:
    model, _ = built(SMALL)
    before = [block.attn.fused_attn for block in model.encoder.transformer.blocks]
    choose_kernels(model, CPU, "fp32")
    choose_kernels(model, torch.device("cuda"), "bf16")
    assert [block.attn.fused_attn for block in model.encoder.transformer.blocks] == before == [True]
    choose_kernels(model, CPU, "bf16")
    assert [block.attn.fused_attn for block in model.encoder.transformer.blocks] == [False]


@pytest.mark.parametrize(
    ("capability", "allowed", "precision"),
    [
        ("avx512_bf16", None, "bf16"),
        ("amx_bf16", "AVX512_CORE_AMX", "bf16"),
        ("avx512_bf16", "AVX2", "fp32"),
        ("avx512_bf16", "AVX512_CORE", "fp32"),
        ("avx2", None, "fp32"),
    ],
)
def test_mixed_is_bf16_where_the_cpu_has_it(
    monkeypatch: pytest.MonkeyPatch, capability: str, allowed: str | None, precision: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {capability: True}, raising=False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    if allowed is not None:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", allowed)
    assert supported_precision(CPU, "mixed") == precision
    assert has_bf16_instructions() == (precision == "bf16")
