"""Greedy decoding, a batch of staves at a time, with a cache of keys and values.

Greedy and nothing else: a decoding temperature changes SER, so a comparison of settings must not have one.
Letters in tensor names: B staves, T positions so far, V entries of a branch's vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from datasets.notation import Symbol
from datasets.vocabulary import BOS, EOS, PAD
from omr_model.decoder import Cache
from omr_model.model import TrOMR

DECODING = "greedy"


@torch.inference_mode()
def greedy(model: TrOMR, image_B1HW: Tensor, *, use_cache: bool = True) -> list[list[Symbol]]:
    """Read staves: the most likely entry of each branch, until the rhythm branch says the staff has ended.

    Args:
        model: in evaluation mode; a model in training mode would drop features out.
        image_B1HW: gray levels 0..255, on the model's device.
        use_cache: False computes the whole sequence anew for each symbol (slow; for tests and benchmarks).

    Returns:
        The symbols of each staff, at most `max_length - 1` of them.
    """
    picture_BPD = model.encoder(image_B1HW)
    staves, longest = len(image_B1HW), model.config.max_length
    rhythm_BT = torch.full((staves, 1), BOS, device=picture_BPD.device)
    pitch_BT = torch.zeros_like(rhythm_BT)
    lift_BT = torch.zeros_like(rhythm_BT)
    ended_B = torch.zeros(staves, dtype=torch.bool, device=picture_BPD.device)
    cache: Cache | None = None
    while rhythm_BT.shape[1] < longest and not bool(ended_B.all()):
        logits, intermediates = model.decoder(rhythm_BT, pitch_BT, lift_BT, picture_BPD, cache)
        cache = intermediates if use_cache else None
        next_B = logits.rhythm[:, -1].argmax(dim=-1).masked_fill(ended_B, PAD)
        ended_B = ended_B | (next_B == EOS)
        rhythm_BT = torch.cat((rhythm_BT, next_B[:, None]), dim=1)
        pitch_BT = torch.cat((pitch_BT, logits.pitch[:, -1].argmax(dim=-1, keepdim=True)), dim=1)
        lift_BT = torch.cat((lift_BT, logits.lift[:, -1].argmax(dim=-1, keepdim=True)), dim=1)
    branches = (rhythm_BT.tolist(), pitch_BT.tolist(), lift_BT.tolist())
    return [model.vocabulary.decode(*ids) for ids in zip(*branches, strict=True)]


def read_batches(model: TrOMR, images: Iterable[Tensor]) -> list[list[Symbol]]:
    """Greedy decoding of many batches of [B, 1, H, W], in evaluation mode; the mode is put back."""
    was_training = model.training
    model.eval()
    try:
        device = next(model.parameters()).device
        return [symbols for image in images for symbols in greedy(model, image.to(device, non_blocking=True))]
    finally:
        model.train(was_training)
