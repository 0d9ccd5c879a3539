"""Decoding's own step computes what the decoder does, and what it writes is what the decoder writes the slow way."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from datasets.vocabulary import EOS, NO_NOTE, PAD
from omr_model import decoding
from omr_model.config import DecoderConfig, EncoderConfig, ModelConfig
from omr_model.decoding import encode, greedy, read_off_all, write, write_on
from omr_model.device import autocast
from omr_model.model import TrOMR
from omr_model.step import Step
from tests.contracts.model import restless
from tests.models import SMALL, random_batch
from tests.slow_decoding import write_slowly

CPU = torch.device("cpu")
STAVES = 6
KINDS = [
    replace(
        SMALL,
        encoder=EncoderConfig(depth=1, heads=2, class_token=class_token),
        decoder=DecoderConfig(
            depth=depth, heads=heads, head_width=head_width, norm_bias=norm_bias, attention_on_attention=gated
        ),
    )
    for class_token, (depth, heads), head_width, norm_bias, gated in itertools.product(
        (False, True), ((1, 2), (3, 4)), (None, 24), (False, True), (False, True)
    )
]


def perturbed(config: ModelConfig) -> TrOMR:
    """Untrained, with no weight at what it begins with: norms begin as ones, biases as zeros."""
    torch.manual_seed(0)
    model = TrOMR(config).eval()
    with torch.no_grad():
        for weight in model.decoder.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return model


def scores_of_steps(model: TrOMR, picture_BPD: Tensor, ids_BTS: Tensor) -> list[Tensor]:
    """By branch, [B, T, V]."""
    step = Step(model.decoder)
    memory = step.remember(picture_BPD, ids_BTS.shape[1])
    steps = [step(ids_BS, position, memory) for position, ids_BS in enumerate(ids_BTS.unbind(dim=1))]
    return [torch.stack(branch, dim=1) for branch in zip(*steps, strict=True)]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("config", KINDS, ids=lambda config: f"{config.decoder}-{config.encoder.class_token}")
def test_scores_are_those_of_a_teacher_forced_pass(config: ModelConfig, precision: str) -> None:
    model, batch = perturbed(config), random_batch(config)
    ids_BTS = torch.stack((batch.rhythm, batch.pitch, batch.lift), dim=2)
    with torch.inference_mode(), autocast(CPU, precision):
        picture_BPD = model.encoder(batch.image)
        expected, _ = model.decoder(*ids_BTS.unbind(dim=2), picture_BPD)
        found = scores_of_steps(model, picture_BPD, ids_BTS)
    tolerance = 1e-5 if precision == "fp32" else 0.05
    for scores, right in zip(found, (expected.rhythm, expected.pitch, expected.lift), strict=True):
        assert scores.dtype == right.dtype
        torch.testing.assert_close(scores, right, atol=tolerance, rtol=tolerance)
        assert right.float().std() > 0.2


@pytest.fixture(scope="module")
def model() -> TrOMR:
    """It ends staves here and there, and some not at all: the seed and the numbers were looked for."""
    torch.manual_seed(5)
    model = TrOMR(replace(SMALL, decoder=replace(SMALL.decoder, depth=2)))
    restless(model, SMALL)
    with torch.no_grad():
        for layer in model.decoder.attention.layers[1::3]:  # pictures matter more, so that staves differ
            layer[1].to_out.weight *= 16
        model.decoder.heads["rhythm"].bias[EOS] += 12
    return model


@pytest.fixture(scope="module")
def images() -> Tensor:
    blocks = torch.randint(0, 2, (STAVES, 1, 4, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return (blocks * 255).repeat_interleave(16, dim=2).repeat_interleave(32, dim=3)


@pytest.fixture(scope="module")
def slowly(model: TrOMR, images: Tensor) -> tuple[Tensor, Tensor]:
    return write_slowly(model, images)


def lengths(ids_BTS: Tensor) -> list[int]:
    """Steps to each staff's end and with it."""
    return [row.index(EOS) + 1 if EOS in row else len(row) for row in ids_BTS[..., 0].tolist()]


def assert_written_alike(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    """Up to each staff's end, and nothing but padding after it."""
    (ids_BTS, taken_BTS), (right_BTS, right_taken_BTS) = found, expected
    assert ids_BTS.shape == taken_BTS.shape == right_BTS.shape
    for row, length in enumerate(lengths(right_BTS)):
        assert ids_BTS[row, :length].tolist() == right_BTS[row, :length].tolist()
        torch.testing.assert_close(taken_BTS[row, :length], right_taken_BTS[row, :length], atol=1e-5, rtol=0)
        assert (ids_BTS[row, length:] == PAD).all()
        assert (taken_BTS[row, length:] == 0).all()


@pytest.mark.parametrize("steps_between_looks", [None, 1, 3, 8, 100])
def test_what_is_written_is_what_the_decoder_writes(
    model: TrOMR, images: Tensor, slowly: tuple[Tensor, Tensor], steps_between_looks: int | None
) -> None:
    """However late it is seen that staves have ended, as on a GPU."""
    found = write_on(Step(model.decoder), encode(model, images), SMALL.max_length, steps_between_looks)
    assert_written_alike(found, slowly)
    assert len(set(lengths(slowly[0]))) >= 4


@settings(max_examples=15, deadline=None)
@given(rows=st.lists(st.integers(0, STAVES - 1), min_size=1, max_size=2 * STAVES))
def test_a_reading_does_not_depend_on_what_it_is_batched_with(
    model: TrOMR, images: Tensor, slowly: tuple[Tensor, Tensor], rows: list[int]
) -> None:
    right_BTS, right_taken_BTS = (each[rows] for each in slowly)
    longest = max(lengths(right_BTS))
    assert_written_alike(write(model, images[rows]), (right_BTS[:, :longest], right_taken_BTS[:, :longest]))


def test_padding_that_a_model_writes_is_no_end() -> None:
    """It goes on after a symbol of padding, and what it has written is not cut there."""
    model = TrOMR(replace(SMALL, max_length=6)).eval()
    torch.nn.init.zeros_(model.decoder.heads["rhythm"].weight)
    with torch.no_grad():
        model.decoder.heads["rhythm"].bias[PAD] += 10
    found, expected = (each(model, random_batch(SMALL).image) for each in (write, write_slowly))
    assert_written_alike(found, expected)
    assert found[0].shape[1] == 5
    assert (PAD, NO_NOTE) == (0, 0)


def test_pictures_seen_a_few_at_a_time_are_those_seen_together(
    model: TrOMR, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.inference_mode():
        together = model.encoder(images)
        seen = []
        handle = model.encoder.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
        monkeypatch.setattr(decoding, "PIXELS_TOGETHER", 4 * SMALL.height * SMALL.width)
        torch.testing.assert_close(encode(model, images), together)
        monkeypatch.setattr(decoding, "PIXELS_TOGETHER", 1)
        torch.testing.assert_close(encode(model, images), together)
        handle.remove()
    assert seen == [4, 2, *[1] * STAVES]


def test_low_precision_reads_on_without_a_fault(model: TrOMR, images: Tensor) -> None:
    with autocast(CPU, "bf16"):
        read = greedy(model, images)
    assert len(read) == STAVES
    assert all(0 < share <= 1 for reading in read for share in reading.confidences)
    assert read_off_all(model, *write(model, images)) == greedy(model, images)


def test_no_step_waits_for_a_graph_of_cudnn(model: TrOMR, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which there is one for each length; on a CPU all that can be seen is that it may not be taken."""
    allowed: list[bool] = []
    attention = F.scaled_dot_product_attention

    def seen(*given: Tensor) -> Tensor:
        allowed.append(torch.backends.cuda.cudnn_sdp_enabled())
        return attention(*given)

    picture_BPD = encode(model, images)
    monkeypatch.setattr(F, "scaled_dot_product_attention", seen)
    write_on(Step(model.decoder), picture_BPD, SMALL.max_length)
    assert set(allowed) == {False}
    assert torch.backends.cuda.cudnn_sdp_enabled()
