"""TrOMR (Li et al., 2023, arXiv 2308.09370): a hybrid encoder and a four-branch decoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from datasets.vocabulary import vocabulary
from omr_model.config import ModelConfig
from omr_model.decoder import Decoder, Logits
from omr_model.distortion import Shots, photograph
from omr_model.encoder import Encoder


@dataclass(frozen=True)
class Batch:
    """Staves of one step.

    Attributes:
        image: gray levels, uint8, [B, 1, H, W].
        rhythm, pitch, lift, note: ids, int64, [B, T]: `[BOS]`, the symbols, `[EOS]`, then padding.
        shots: camera effects that are still to be made (`photographed`), or None.
    """

    image: Tensor
    rhythm: Tensor
    pitch: Tensor
    lift: Tensor
    note: Tensor
    shots: Shots | None = None

    def to(self, device: str) -> Batch:
        """The same staves on a device; pinned memory is copied without waiting."""
        return self._each(lambda part: part.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Called by torch's DataLoader when it is to pin."""
        return self._each(lambda part: part.pin_memory())

    def photographed(self) -> Batch:
        """The same staves after their camera effects, which are made where the images are."""
        return self if self.shots is None else replace(self, image=photograph(self.image, self.shots), shots=None)

    def _each(self, change: Callable[[Any], Any]) -> Batch:
        parts: dict[str, Any] = {name: part for name, part in vars(self).items() if part is not None}
        return Batch(**{name: change(part) for name, part in parts.items()})


class TrOMR(nn.Module):
    """Staff images to symbols."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary(config.vocabulary)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config, self.vocabulary)

    def forward(self, batch: Batch) -> Logits:
        """Teacher-forced scores: position t of the result speaks of symbol t + 1, [B, T - 1, V]."""
        return self.score(batch, self.encoder(batch.image))

    def score(self, batch: Batch, picture_BPD: Tensor) -> Logits:
        """`forward`, of pictures that the encoder has seen."""
        logits: Logits
        logits, _ = self.decoder(batch.rhythm[:, :-1], batch.pitch[:, :-1], batch.lift[:, :-1], picture_BPD)
        return logits

    @property
    def parameter_count(self) -> int:
        """Trainable numbers in the model."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)
