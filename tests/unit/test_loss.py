"""The loss against its formula, written out on small tensors."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from datasets.vocabulary import PAD, vocabulary
from omr_model.config import LossConfig, TokenWeights
from omr_model.decoder import Logits
from omr_model.loss import TrOMRLoss
from omr_model.model import Batch
from tests.models import random_batch

WORDS = vocabulary("full")


def random_logits(batch: Batch, seed: int = 0) -> Logits:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch.rhythm.shape[0], batch.rhythm.shape[1] - 1)
    widths = {"rhythm": len(WORDS.rhythm), "pitch": len(WORDS.pitch), "lift": len(WORDS.lift), "note": 2}
    return Logits(**{name: torch.randn(*shape, width, generator=generator) for name, width in widths.items()})


def confident(batch: Batch, strength: float = 50.0) -> Logits:
    """Scores that are sure of the right answer."""
    widths = {"rhythm": len(WORDS.rhythm), "pitch": len(WORDS.pitch), "lift": len(WORDS.lift), "note": 2}
    return Logits(
        **{name: strength * F.one_hot(getattr(batch, name)[:, 1:], width).float() for name, width in widths.items()}
    )


def test_total_is_alpha_times_the_branches_plus_beta_times_consistency() -> None:
    batch = random_batch()
    logits = random_logits(batch)
    losses = TrOMRLoss(LossConfig(alpha=0.3, beta=0.7), WORDS)(logits, batch)
    expected = 0.3 * (losses.rhythm + losses.pitch + losses.lift + losses.note) + 0.7 * losses.consistency
    torch.testing.assert_close(losses.total, expected)


def test_a_branch_is_the_cross_entropy_over_what_is_not_padding() -> None:
    batch = random_batch()
    logits = random_logits(batch)
    targets = batch.rhythm[:, 1:]
    assert (targets == PAD).any()
    expected = F.cross_entropy(logits.rhythm.flatten(0, 1), targets.flatten(), ignore_index=PAD)
    torch.testing.assert_close(TrOMRLoss(LossConfig(), WORDS)(logits, batch).rhythm, expected)


def test_the_right_answer_costs_nothing() -> None:
    batch = random_batch()
    assert TrOMRLoss(LossConfig(), WORDS)(confident(batch), batch).total < 1e-4


def test_consistency_is_ten_times_the_mean_distance_to_the_note_flag() -> None:
    batch = random_batch(staves=1)
    sure = confident(batch)
    contrary = Logits(rhythm=sure.rhythm, pitch=sure.pitch, lift=sure.lift, note=sure.note.flip(-1))
    loss = TrOMRLoss(LossConfig(), WORDS)
    torch.testing.assert_close(loss(contrary, batch).consistency, torch.tensor(10.0))
    one_apart = Logits(rhythm=sure.rhythm, pitch=sure.pitch.roll(1, -1), lift=sure.lift, note=sure.note)
    is_note = batch.note[:, 1:] == 1
    moved = (batch.pitch[:, 1:] == 0).float() + (is_note & (batch.pitch[:, 1:] == len(WORDS.pitch) - 1)).float()
    torch.testing.assert_close(loss(one_apart, batch).consistency, 10 / 3 * moved.mean())


def test_focal_loss_falls_on_its_branches_alone_and_forgives_the_sure() -> None:
    batch = random_batch()
    logits = random_logits(batch)
    plain = TrOMRLoss(LossConfig(), WORDS)(logits, batch)
    focal = TrOMRLoss(LossConfig(focal_gamma=2.0, focal_alpha=0.25), WORDS)(logits, batch)
    torch.testing.assert_close(focal.rhythm, plain.rhythm)
    valid = batch.rhythm[:, 1:] != PAD
    surprise = F.cross_entropy(logits.lift[valid], batch.lift[:, 1:][valid], reduction="none")
    expected = (0.25 * (1 - (-surprise).exp()) ** 2 * surprise).mean()
    torch.testing.assert_close(focal.lift, expected)


def test_token_weights_move_the_mean_towards_their_class() -> None:
    batch = random_batch()
    logits = random_logits(batch)
    weighted = TrOMRLoss(LossConfig(token_weights=TokenWeights(accidental=10)), WORDS)(logits, batch).lift
    valid = batch.rhythm[:, 1:] != PAD
    targets = batch.lift[:, 1:][valid]
    surprise = F.cross_entropy(logits.lift[valid], targets, reduction="none")
    printed = targets > WORDS.lift.index("lift_null")
    weight = torch.where(printed, 10.0, 1.0)
    torch.testing.assert_close(weighted, (weight * surprise).sum() / weight.sum())
    assert printed.any()


@pytest.mark.parametrize(("field", "token"), [("rest", "rest-quarter"), ("barline", "barline")])
def test_rhythm_weights_reach_their_tokens(field: str, token: str) -> None:
    loss = TrOMRLoss(LossConfig(token_weights=TokenWeights(**{field: 3.0})), WORDS)
    weights = loss.rhythm_weights
    assert isinstance(weights, torch.Tensor)
    assert weights[WORDS.rhythm.index(token)] == 3.0
    assert weights[WORDS.rhythm.index("note-quarter")] == 1.0


@pytest.mark.parametrize(
    "config",
    [
        LossConfig(label_smoothing=0.1, token_weights=TokenWeights(accidental=10, rest=2)),
        LossConfig(focal_gamma=0.5, focal_branches=("rhythm", "lift"), token_weights=TokenWeights(natural=3)),
    ],
)
def test_padding_changes_nothing(config: LossConfig) -> None:
    """Neither the losses nor the gradients, whatever the scores are where nothing counts."""
    batch = random_batch()
    logits = {name: scores.requires_grad_() for name, scores in random_logits(batch).items()}
    padded = Batch(batch.image, *(F.pad(getattr(batch, name), (0, 5), value=PAD) for name in logits))
    wider = {name: F.pad(scores.detach(), (0, 0, 0, 5), value=7.0).requires_grad_() for name, scores in logits.items()}
    loss = TrOMRLoss(config, WORDS)
    own, of_padded = loss(Logits(**logits), batch), loss(Logits(**wider), padded)
    torch.testing.assert_close(of_padded.detached(), own.detached(), rtol=1e-6, atol=1e-6)
    own.total.backward()
    of_padded.total.backward()
    for name, scores in logits.items():
        gradient = wider[name].grad
        assert gradient is not None
        torch.testing.assert_close(gradient[:, :-5], scores.grad)
        assert not gradient[:, -5:].any()
