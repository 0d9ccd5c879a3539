"""Greedy decoding, a batch of staves at a time, with a cache of keys and values.

Greedy and nothing else: a decoding temperature changes SER, so a comparison of settings must not have one.
Letters in tensor names: B staves, T positions so far, V entries of a branch's vocabulary, S branches.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from datasets.vocabulary import BOS, EOS, PAD
from omr_model.decoder import Cache
from omr_model.model import TrOMR
from omr_model.reading import Reading, read_off

DECODING = "greedy"


def greedy(model: TrOMR, image_B1HW: Tensor, *, use_cache: bool = True) -> list[Reading]:
    """Read staves: the most likely entry of each branch, until the rhythm branch says the staff has ended.

    Args:
        model: in evaluation mode; a model in training mode would drop features out.
        image_B1HW: gray levels 0..255, on the model's device.
        use_cache: False computes the whole sequence anew for each symbol (slow; for tests and benchmarks).

    Returns:
        What is read of each staff, at most `max_length - 1` symbols.
    """
    ids_BTS, taken_BTS = write(model, image_B1HW, use_cache=use_cache)
    staves = zip(ids_BTS.cpu().numpy(), taken_BTS.cpu().numpy(), strict=True)
    return [read_off(model.vocabulary, ids_TS, taken_TS) for ids_TS, taken_TS in staves]


@torch.inference_mode()
def write(model: TrOMR, image_B1HW: Tensor, *, use_cache: bool = True) -> tuple[Tensor, Tensor]:
    """What `greedy` reads the symbols off: of each step what the model wrote, and so saw at the next.

    These ids are not those of the symbols: pitch and lift are there beside a rest, too, and a symbol may be padding.

    Returns:
        ids, int64, and their probabilities, float32, of the rhythm, pitch and lift branch: both [B, T, 3].
    """
    picture_BPD = model.encoder(image_B1HW)
    staves, longest = len(image_B1HW), model.config.max_length
    rhythm_BT = torch.full((staves, 1), BOS, device=picture_BPD.device)
    pitch_BT = torch.zeros_like(rhythm_BT)
    lift_BT = torch.zeros_like(rhythm_BT)
    ended_B = torch.zeros(staves, dtype=torch.bool, device=picture_BPD.device)
    scores: list[tuple[Tensor, Tensor, Tensor]] = []  # of each step and branch, [B, V]; probabilities come last
    cache: Cache | None = None
    while rhythm_BT.shape[1] < longest and not bool(ended_B.all()):
        logits, intermediates = model.decoder(rhythm_BT, pitch_BT, lift_BT, picture_BPD, cache)
        cache = intermediates if use_cache else None
        rhythm_BV, pitch_BV, lift_BV = (branch[:, -1] for branch in (logits.rhythm, logits.pitch, logits.lift))
        next_B = rhythm_BV.argmax(dim=-1).masked_fill(ended_B, PAD)
        ended_B = ended_B | (next_B == EOS)
        rhythm_BT = torch.cat((rhythm_BT, next_B[:, None]), dim=1)
        pitch_BT = torch.cat((pitch_BT, pitch_BV.argmax(dim=-1, keepdim=True)), dim=1)
        lift_BT = torch.cat((lift_BT, lift_BV.argmax(dim=-1, keepdim=True)), dim=1)
        scores.append((rhythm_BV, pitch_BV, lift_BV))
    ids_BTS = torch.stack((rhythm_BT, pitch_BT, lift_BT), dim=2)[:, 1:]
    branches = zip(zip(*scores, strict=True), ids_BTS.unbind(dim=2), strict=True)
    taken_BTS = torch.stack([_probabilities(torch.stack(steps, dim=1), ids_BT) for steps, ids_BT in branches], dim=2)
    return ids_BTS, taken_BTS


def _probabilities(scores_BTV: Tensor, ids_BT: Tensor) -> Tensor:
    """Of the entries taken, [B, T], in float32 whatever the scores are in."""
    return scores_BTV.float().softmax(dim=-1).gather(2, ids_BT[:, :, None])[:, :, 0]


def read_batches(model: TrOMR, images: Iterable[Tensor]) -> list[Reading]:
    """Greedy decoding of many batches of [B, 1, H, W], in evaluation mode; the mode is put back."""
    was_training = model.training
    model.eval()
    try:
        device = next(model.parameters()).device
        return [reading for image in images for reading in greedy(model, image.to(device, non_blocking=True))]
    finally:
        model.train(was_training)
