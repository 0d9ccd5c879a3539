"""The TrOMR loss: four cross entropies and a term that makes the branches agree on what is a note.

    loss = alpha x (rhythm + pitch + lift + note) + beta x consistency          (TrOMR, equation 2)

Options from the training log: focal loss and weights by symbol class. Letters in tensor names: B staves,
T positions, V entries of a branch's vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets.vocabulary import NO_NOTE, PAD, Vocabulary
from omr_model.config import BRANCHES, LossConfig
from omr_model.decoder import Logits
from omr_model.model import Batch

_IGNORED = -100  # the target of a position that does not count, as PyTorch has it


@dataclass(frozen=True)
class Losses:
    """The weighted sum that is minimised, and its parts before weighting; scalars."""

    total: Tensor
    rhythm: Tensor
    pitch: Tensor
    lift: Tensor
    note: Tensor
    consistency: Tensor

    def detached(self) -> Tensor:
        """The parts as one vector without history, in the order of `LOSS_PARTS`."""
        return torch.stack([getattr(self, part) for part in LOSS_PARTS]).detach().float()


LOSS_PARTS = ("total", "rhythm", "pitch", "lift", "note", "consistency")


class TrOMRLoss(nn.Module):
    """Compares teacher-forced scores with a batch's symbols."""

    note_mask: Tensor

    def __init__(self, config: LossConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("note_mask", torch.tensor(vocabulary.note_rhythm_mask))
        for branch, weights in _token_weights(config, vocabulary).items():
            self.register_buffer(f"{branch}_weights", weights)

    def forward(self, logits: Logits, batch: Batch) -> Losses:
        """Means over the positions that are not padding.

        Those are masked, not taken out: how many there are only the device knows, and a GPU would be waited for.
        """
        valid_BT = batch.rhythm[:, 1:] != PAD
        parts = {
            branch: self._cross_entropy(branch, scores, getattr(batch, branch)[:, 1:].masked_fill(~valid_BT, _IGNORED))
            for branch, scores in logits.items()
        }
        return self.weighted(parts, self._consistency(logits, valid_BT))

    def weighted(self, cross_entropies: Mapping[str, Tensor], consistency: Tensor) -> Losses:
        """The parts, cross entropies by branch, with the sum that is minimised."""
        total = self.config.alpha * sum(cross_entropies.values()) + self.config.beta * consistency
        return Losses(total=total, consistency=consistency, **cross_entropies)

    def _cross_entropy(self, branch: str, scores_BTV: Tensor, target_BT: Tensor) -> Tensor:
        scores_NV, target_N = scores_BTV.float().flatten(0, 1), target_BT.flatten()
        weights_V: Tensor = getattr(self, f"{branch}_weights")
        if self.config.focal_gamma == 0 or branch not in self.config.focal_branches:
            return F.cross_entropy(scores_NV, target_N, weight=weights_V, label_smoothing=self.config.label_smoothing)
        surprise_N = F.cross_entropy(scores_NV, target_N, reduction="none")  # 0 where it is ignored
        doubt_N = 1 - torch.exp(-surprise_N)
        # At no doubt at all the power's slope may be infinite (an exponent below 1), which nothing would mask.
        valid_N = target_N != _IGNORED
        focal_N = self.config.focal_alpha * doubt_N.masked_fill(~valid_N, 1.0) ** self.config.focal_gamma * surprise_N
        weight_N = weights_V[target_N.clamp_min(0)] * valid_N
        return (weight_N * focal_N).sum() / weight_N.sum()

    def _consistency(self, logits: Logits, valid_BT: Tensor) -> Tensor:
        """`gamma` times the mean L1 distance of the note flag to what rhythm, pitch and lift say of it."""
        chance_BTV = {branch: scores.float().softmax(dim=-1) for branch, scores in logits.items()}
        flag_BT = chance_BTV["note"][..., 1]
        opinions = (
            (chance_BTV["rhythm"] * self.note_mask).sum(dim=-1),
            1 - chance_BTV["pitch"][..., NO_NOTE],
            1 - chance_BTV["lift"][..., NO_NOTE],
        )
        distance_BT = (torch.stack(opinions) - flag_BT).abs().mean(dim=0)
        return self.config.gamma * (distance_BT * valid_BT).sum() / valid_BT.sum()


def _token_weights(config: LossConfig, vocabulary: Vocabulary) -> dict[str, Tensor]:
    """A weight for every entry of every branch."""
    weights = config.token_weights
    rhythm = [
        weights.rest if token.startswith(("rest-", "multirest-")) else weights.barline if token == "barline" else 1.0
        for token in vocabulary.rhythm
    ]
    lift = [
        1.0
        if token in ("nonote", "lift_null")
        else weights.accidental * (weights.natural if token == "lift_N" else 1.0)
        for token in vocabulary.lift
    ]
    by_branch = {"rhythm": rhythm, "pitch": [1.0] * len(vocabulary.pitch), "lift": lift, "note": [1.0, 1.0]}
    return {branch: torch.tensor(by_branch[branch]) for branch in BRANCHES}
