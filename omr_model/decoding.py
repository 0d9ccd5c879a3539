"""Greedy decoding, a batch of staves at a time, a symbol of each at a step (`omr_model.step`).

Greedy and nothing else: a decoding temperature changes SER, so a comparison of settings must not have one. What is read
of a staff does not depend on the others in its batch, but for rounding.

Letters in tensor names: B staves, T positions so far, P cells of the picture, D embedding width, V entries of a
branch's vocabulary, S branches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from datasets.vocabulary import BOS, EOS, NO_NOTE, PAD, SYMBOL_BRANCHES
from omr_model.model import TrOMR
from omr_model.reading import Reading, read_off
from omr_model.step import Step, kernels_of_any_length

DECODING = "greedy"
KEPT_UNTIL = 0.75  # of a batch's staves, before those that have ended are dropped
PIXELS_TOGETHER = 400_000  # encoded at a time on a CPU: 24 short staves, 9 lines, 2 of the paper's
STEPS_BETWEEN_LOOKS = 8  # at a GPU, whether staves have ended


def greedy(model: TrOMR, image_B1HW: Tensor) -> list[Reading]:
    """Read staves: the most likely entry of each branch, until the rhythm branch says the staff has ended.

    Args:
        model: in evaluation mode; a model in training mode would drop features out.
        image_B1HW: gray levels 0..255, on the model's device.

    Returns:
        What is read of each staff, at most `max_length - 1` symbols.
    """
    return read_off_all(model, *write(model, image_B1HW))


def read_off_all(model: TrOMR, ids_BTS: Tensor, taken_BTS: Tensor) -> list[Reading]:
    """The symbols in what `write` has written."""
    staves = zip(ids_BTS.cpu().numpy(), taken_BTS.cpu().numpy(), strict=True)
    return [read_off(model.vocabulary, ids_TS, taken_TS) for ids_TS, taken_TS in staves]


@torch.inference_mode()
def write(model: TrOMR, image_B1HW: Tensor) -> tuple[Tensor, Tensor]:
    """What `greedy` reads the symbols off: of each step what the model wrote, and so saw at the next.

    These ids are not those of the symbols: pitch and lift are there beside a rest, too, and a symbol may be padding.
    After a staff's end there is padding, and a probability of nothing.

    Returns:
        ids, int64, and their probabilities, float32, of the rhythm, pitch and lift branch: both [B, T, 3].
    """
    return write_on(Step(model.decoder), encode(model, image_B1HW), model.config.max_length)


def encode(model: TrOMR, image_B1HW: Tensor) -> Tensor:
    """The encoder's features, [B, P, D]; on a CPU of a few staves at a time, whose feature maps stay in its caches."""
    if image_B1HW.device.type != "cpu":
        return model.encoder(image_B1HW)  # type: ignore[no-any-return]
    pixels = image_B1HW.shape[-2] * image_B1HW.shape[-1]
    parts = torch.split(image_B1HW, max(1, PIXELS_TOGETHER // pixels))
    return torch.cat([model.encoder(part) for part in parts])


@torch.inference_mode()
@kernels_of_any_length()
def write_on(
    step: Step, picture_BPD: Tensor, max_length: int, steps_between_looks: int | None = None
) -> tuple[Tensor, Tensor]:
    """`write`, of staves that the encoder has seen.

    Staves that have ended are dropped from the batch once they are a quarter of it.

    Args:
        steps_between_looks: after how many steps it is seen which have ended; None is each step on a CPU, and
            `STEPS_BETWEEN_LOOKS` on a GPU, which has to be waited for.
    """
    device, staves = picture_BPD.device, len(picture_BPD)
    steps_between_looks = steps_between_looks or (1 if device.type == "cpu" else STEPS_BETWEEN_LOOKS)
    memory = step.remember(picture_BPD, max_length)
    ids_BTS = torch.full((staves, max_length - 1, len(SYMBOL_BRANCHES)), PAD, device=device)
    taken_BTS = torch.zeros(ids_BTS.shape, device=device)
    rows_B = torch.arange(staves, device=device)  # those that are written, of all
    seen_BS = torch.full((staves, len(SYMBOL_BRANCHES)), NO_NOTE, device=device)
    seen_BS[:, 0] = BOS
    ended_B = torch.zeros(staves, dtype=torch.bool, device=device)
    written = 0
    while written < max_length - 1 and len(rows_B):
        scores = step(seen_BS, written, memory)
        seen_BS = torch.stack([scores_BV.argmax(dim=-1) for scores_BV in scores], dim=1)
        seen_BS = seen_BS.masked_fill(ended_B[:, None], PAD)
        ids_BTS[rows_B, written] = seen_BS
        taken_BTS[rows_B, written] = _of_the_largest(scores).masked_fill(ended_B[:, None], 0)
        ended_B = ended_B | (seen_BS[:, 0] == EOS)
        written += 1
        if written % steps_between_looks == 0:
            going_B = (~ended_B).nonzero()[:, 0]
            if len(going_B) <= KEPT_UNTIL * len(rows_B):
                rows_B, seen_BS, ended_B = rows_B[going_B], seen_BS[going_B], ended_B[going_B]
                memory.keep(going_B, written)
    longest = _longest(ids_BTS[:, :written, 0])
    return ids_BTS[:, :longest], taken_BTS[:, :longest]


def _of_the_largest(scores: Sequence[Tensor]) -> Tensor:
    """Softmax of each branch's largest score, [B, S], in float32 whatever the scores are in."""
    return torch.stack([scores_BV.float().softmax(dim=-1).amax(dim=-1) for scores_BV in scores], dim=1)


def _longest(rhythm_BT: Tensor) -> int:
    """Steps until the last staff has ended."""
    ends_BT = rhythm_BT == EOS
    steps = rhythm_BT.shape[1]
    return int(torch.where(ends_BT.any(dim=1), ends_BT.int().argmax(dim=1) + 1, steps).max()) if steps else 0


def read_batches(model: TrOMR, images: Iterable[Tensor]) -> list[Reading]:
    """Greedy decoding of many batches of [B, 1, H, W], in evaluation mode; the mode is put back."""
    was_training = model.training
    model.eval()
    try:
        device = next(model.parameters()).device
        return [reading for image in images for reading in greedy(model, image.to(device, non_blocking=True))]
    finally:
        model.train(was_training)
