"""Greedy decoding with the decoder itself, as it was before `omr_model.step`: what is right, slowly."""

from __future__ import annotations

import torch
from torch import Tensor

from datasets.vocabulary import BOS, EOS, PAD
from omr_model.decoder import Cache
from omr_model.decoding import read_off_all
from omr_model.model import TrOMR
from omr_model.reading import Reading


def greedy_slowly(model: TrOMR, image_B1HW: Tensor) -> list[Reading]:
    """`omr_model.decoding.greedy`, with the whole sequence computed anew for each symbol."""
    return read_off_all(model, *write_slowly(model, image_B1HW))


@torch.inference_mode()
def write_slowly(model: TrOMR, image_B1HW: Tensor) -> tuple[Tensor, Tensor]:
    """`omr_model.decoding.write`, with the whole sequence computed anew for each symbol."""
    return write_with_decoder(model, model.encoder(image_B1HW), cached=False)


def write_with_decoder(model: TrOMR, picture_BPD: Tensor, *, cached: bool) -> tuple[Tensor, Tensor]:
    """`omr_model.decoding.write_on`, but that pitch and lift are written beyond a staff's end.

    Args:
        cached: with x-transformers' own cache of keys and values.
    """
    staves, longest = len(picture_BPD), model.config.max_length
    ids_BTS = torch.zeros(staves, 1, 3, dtype=torch.int64, device=picture_BPD.device)
    ids_BTS[..., 0] = BOS
    ended_B = torch.zeros(staves, dtype=torch.bool, device=picture_BPD.device)
    scores: list[tuple[Tensor, ...]] = []
    cache: Cache | None = None
    while ids_BTS.shape[1] < longest and not bool(ended_B.all()):
        logits, intermediates = model.decoder(*ids_BTS.unbind(dim=2), picture_BPD, cache)
        cache = intermediates if cached else None
        scores.append((logits.rhythm[:, -1], logits.pitch[:, -1], logits.lift[:, -1]))
        next_BS = torch.stack([each.argmax(dim=-1) for each in scores[-1]], dim=1)
        next_BS[:, 0] = next_BS[:, 0].masked_fill(ended_B, PAD)
        ended_B = ended_B | (next_BS[:, 0] == EOS)
        ids_BTS = torch.cat((ids_BTS, next_BS[:, None]), dim=1)
    ids_BTS = ids_BTS[:, 1:]
    shares = [torch.stack(branch, dim=1).float().softmax(dim=-1) for branch in zip(*scores, strict=True)]
    taken = [share.gather(2, ids[..., None])[..., 0] for share, ids in zip(shares, ids_BTS.unbind(dim=2), strict=True)]
    return ids_BTS, torch.stack(taken, dim=2)
