"""Regions of a model, captured by torch.compile, compute what the model does; kernels chosen for speed too."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from datasets.notation import parse
from datasets.shards import PreparedCorpus
from datasets.vocabulary import vocabulary
from omr_model import compiled
from omr_model.compiled import PADDED_TO, compile_regions, obstacle, pays, uncompiled
from omr_model.config import LossConfig, ModelConfig
from omr_model.data import Sample, collate
from omr_model.device import has_bf16_instructions, supported_precision
from omr_model.kernels import choose_kernels
from omr_model.loss import TrOMRLoss
from omr_model.model import Batch, TrOMR
from omr_model.trainer import Trainer
from tests.models import SMALL, random_batch, training

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


GPU = torch.device("cuda")


@pytest.fixture
def volta(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU of 2017, Triton, and gcc."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 0))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "triton" or None)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}" if name == "gcc" else None)
    monkeypatch.delenv("CC", raising=False)


@pytest.mark.usefixtures("volta")
def test_what_a_gpu_needs_to_be_compiled_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pays(GPU)
    assert obstacle(GPU) == ""
    monkeypatch.setenv("CC", "no-such-cc")
    assert obstacle(GPU).endswith("needs a C compiler: install gcc, or name one in CC")
    monkeypatch.delenv("CC")
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/clang" if name == "clang" else None)
    assert pays(GPU)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert obstacle(GPU).endswith("needs Triton")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (6, 1))
    assert obstacle(GPU).endswith("needs a GPU of compute capability 7.0 (this one has 6.1)")
    assert not pays(GPU)


def test_the_compiler_is_the_one_that_triton_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    triton = pytest.importorskip("triton.runtime.build")
    for named, there in itertools.product((None, "my-cc"), ({"gcc", "clang", "my-cc"}, {"clang", "my-cc"}, set())):
        monkeypatch.setattr("shutil.which", lambda name, there=there: name if name in there else None)
        monkeypatch.delenv("CC", raising=False)
        if named is not None:
            monkeypatch.setenv("CC", named)
        triton._find_compiler.cache_clear()
        if there:
            assert compiled._c_compiler() == triton._find_compiler("c")
        else:
            assert compiled._c_compiler() is None  # Triton would take the named one, and fail to start it
    triton._find_compiler.cache_clear()


def test_a_training_that_cannot_be_compiled_goes_on_and_says_so(
    corpus: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omr_model.trainer.obstacle", lambda _: "no compiler")
    assert Trainer(training(compile=True), corpus).notes == ["no compiler"]
    assert Trainer(training(), corpus).notes == []


def test_padding_that_the_decoder_sees_in_eights_changes_no_number() -> None:
    words = vocabulary(SMALL.vocabulary)
    label = parse("clef-G2 keySignature-DM note-F5_quarter barline")
    samples = [
        Sample(np.full((SMALL.height, SMALL.width), gray, dtype=np.uint8), words.encode(label[:symbols]))
        for gray, symbols in ((0, 4), (200, 2))
    ]
    assert [collate(samples, PADDED_TO, at_most).rhythm.shape[1] for at_most in (None, 9, 7)] == [9, 9, 7]
    assert collate([Sample(samples[0].image, words.encode(label * 2))], PADDED_TO).rhythm.shape[1] == 17
    model, loss = built(SMALL)
    (total, gradients), (padded_total, padded_gradients) = (
        learned(model, loss, collate(samples, multiple)) for multiple in (1, PADDED_TO)
    )
    torch.testing.assert_close(padded_total, total)
    torch.testing.assert_close(padded_gradients, gradients, rtol=1e-4, atol=1e-5)
