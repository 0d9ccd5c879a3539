"""The two graphs of a model for onnxruntime (`omr_model.onnx_model`), exported from torch.

They hold a cache of keys and values, as decoding with torch does. The decoder's first symbol is no special case: its
past has length zero, and the keys and values of the picture come out of the encoder's graph.

Opset 20 is the first with GELU as one operator; onnxruntime has it since 1.17.
"""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import onnx  # noqa: F401  (the exporter imports these two when it runs; a missing one is to be told before)
import onnxscript  # noqa: F401
import torch
from torch import Tensor, nn

from datasets.vocabulary import SYMBOL_BRANCHES
from omr_model.decoder import Cache, KeysValues
from omr_model.model import TrOMR

OPSET = 20


class EncoderGraph(nn.Module):
    """Pictures to keys and values of their cells, layer by layer of the decoder."""

    def __init__(self, model: TrOMR) -> None:
        super().__init__()
        self.model = model

    def forward(self, image_B1HW: Tensor) -> Tensor:
        """Gray levels to [L, 2, B, N, P, K].

        A step of the decoder computes them on its way; what else it computes, the exporter drops.
        """
        picture_BPD = self.model.encoder(image_B1HW)
        ids_B1 = torch.zeros_like(image_B1HW[:, 0, 0, :1], dtype=torch.int64)
        _, cache = self.model.decoder(ids_B1, ids_B1, ids_B1, picture_BPD)
        return _stacked(cache.attn_intermediates[1::2])


class DecoderGraph(nn.Module):
    """One step of decoding."""

    def __init__(self, model: TrOMR) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, rhythm_BT: Tensor, pitch_BT: Tensor, lift_BT: Tensor, picture_L2BNPK: Tensor, past_L2BNTK: Tensor
    ) -> tuple[Tensor, ...]:
        """Scores of the next symbol by branch, [B, V] each, and the past with the newest position in it."""
        both = zip(past_L2BNTK, picture_L2BNPK, strict=True)  # each layer attends to the past, then to the picture
        known = [KeysValues(cached_kv=(keys, values)) for layer in both for keys, values in layer]
        cache = Cache(attn_intermediates=known, cache_length=past_L2BNTK.shape[-2])
        nothing_new = picture_L2BNPK.new_zeros(rhythm_BT.shape[0], 0, self.model.config.embedding)
        logits, cache = self.model.decoder(rhythm_BT, pitch_BT, lift_BT, nothing_new, cache)
        scores = dict(logits.items())
        return (*(scores[branch][:, -1] for branch in SYMBOL_BRANCHES), _stacked(cache.attn_intermediates[::2]))


def write_encoder(model: TrOMR, path: Path) -> None:
    """Write the graph from pictures to keys and values."""
    _export(EncoderGraph(_copied(model)), (_pictures(model),), ({0: "staves"},), ["image"], ["picture"], path)


def write_decoder(model: TrOMR, path: Path) -> None:
    """Write the graph of one step."""
    copied = _copied(model)
    with torch.no_grad():
        picture = EncoderGraph(copied)(_pictures(model))
    past = picture[..., :3, :].contiguous()  # any numbers will do, and any length over one, which would be fixed
    length = past.shape[-2] + 1
    ids = [torch.ones(picture.shape[2], length, dtype=torch.int64) for _ in SYMBOL_BRANCHES]  # one twice is one input
    sequence = {0: "staves", 1: "symbols"}
    _export(
        DecoderGraph(copied),
        (*ids, picture, past),
        (sequence, sequence, sequence, {2: "staves"}, {2: "staves", 4: "past_symbols"}),
        [*SYMBOL_BRANCHES, "picture", "past"],
        [*(f"{branch}_scores" for branch in SYMBOL_BRANCHES), "past_and_this"],
        path,
    )


def _export(
    graph: nn.Module,
    example: tuple[Tensor, ...],
    dynamic: tuple[dict[int, str], ...],
    inputs: list[str],
    outputs: list[str],
    path: Path,
) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "# The axis name: .* will not be used", UserWarning)  # names are only names
        torch.onnx.export(
            graph.eval(),
            example,
            path,
            dynamo=True,
            external_data=False,
            dynamic_shapes=dynamic,
            input_names=inputs,
            output_names=outputs,
            opset_version=OPSET,
            verbose=False,
        )


def _copied(model: TrOMR) -> TrOMR:
    """In evaluation mode, on the CPU, in float32."""
    return copy.deepcopy(model).cpu().float().eval()


def _pictures(model: TrOMR) -> Tensor:
    return torch.zeros(2, 1, model.config.height, model.config.width, dtype=torch.uint8)


def _stacked(intermediates: list[KeysValues]) -> Tensor:
    return torch.stack([torch.stack(each.cached_kv) for each in intermediates])
