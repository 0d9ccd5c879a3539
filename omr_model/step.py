"""One step of greedy decoding, on the decoder's own weights.

x-transformers computes any transformer that can be said in its hundreds of options, and asks for each of them at each
step: for models of this size that takes longer than the arithmetic. Here is the one transformer that `ModelConfig` can
say, a position at a time, with what does not change between steps done once a reading: keys and values of the picture,
weights side by side that meet the same input, and in mixed precision their rounding.

`omr_model.decoder` is what is trained, and what is right: tests hold this against its teacher-forced pass, for all that
`DecoderConfig` can say.

Letters in tensor names: B staves, T positions, P cells of the picture, D embedding width, L layers, N heads, K width of
a head, V entries of a branch's vocabulary, S branches. 2 stands for keys and values.
"""

from __future__ import annotations

from contextlib import ContextDecorator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from datasets.vocabulary import SYMBOL_BRANCHES
from omr_model.decoder import Decoder


@dataclass(frozen=True)
class _Norm:
    """A layer norm; `bias` is None where the model's norms have none."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x_BD: Tensor) -> Tensor:
        return F.layer_norm(x_BD, self.weight.shape, self.weight, self.bias).to(x_BD.dtype)


@dataclass(frozen=True)
class _Layer:
    """A layer's weights: attention to the symbols, attention to the picture, feed-forward.

    With attention on attention an `out` has twice the width, for the gate behind it.
    """

    own_norm: _Norm
    own_queries_keys_values: Tensor
    own_out: Tensor
    picture_norm: _Norm
    picture_queries: Tensor
    picture_keys_values: Tensor
    picture_out: Tensor
    forward_norm: _Norm
    forward_in: tuple[Tensor, Tensor]
    forward_out: tuple[Tensor, Tensor]


@dataclass
class Memory:
    """What the steps of a batch have in common.

    Attributes:
        pictures: of each layer keys and values of the pictures, [2, B, N, P, K].
        symbols: of each layer keys and values of the symbols, [2, B, N, longest, K]; filled as they are written.
    """

    pictures: list[Tensor]
    symbols: list[Tensor]

    def keep(self, rows: Tensor, length: int) -> None:
        """Forget all staves but these, of which so many symbols are written."""
        self.pictures = [each.index_select(1, rows) for each in self.pictures]
        kept_symbols = []
        for each in self.symbols:
            two, _, heads, longest, width = each.shape
            kept = each.new_empty(two, len(rows), heads, longest, width)
            kept[..., :length, :] = each[..., :length, :].index_select(1, rows)
            kept_symbols.append(kept)
        self.symbols = kept_symbols


class Step:
    """A decoder's weights as they are now, ready to write; make it anew after they have changed.

    Within autocast, products are computed in its precision, as the decoder itself would.
    """

    def __init__(self, decoder: Decoder) -> None:
        embedding = decoder.position_embedding.weight
        device = embedding.device.type
        self.dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else embedding.dtype
        self.device = device
        blocks: Any = decoder.attention.layers
        self.heads: int = blocks[0][1].heads
        self.embeddings: list[Tensor] = [getattr(decoder, f"{branch}_embedding").weight for branch in SYMBOL_BRANCHES]
        self.positions_TD = embedding
        self.layers = [self._layer(*blocks[first : first + 3]) for first in range(0, len(blocks), 3)]
        self.final_norm = _norm(decoder.attention.final_norm)
        out: list[Any] = [decoder.heads[branch] for branch in SYMBOL_BRANCHES]
        self.sizes: list[int] = [head.out_features for head in out]
        self.out = self._rounded([head.weight for head in out]), self._rounded([head.bias for head in out])

    def remember(self, picture_BPD: Tensor, longest: int) -> Memory:
        """Begin to read staves of at most so many symbols."""
        with torch.autocast(self.device, enabled=False):
            picture_BPD = picture_BPD.to(self.dtype)
            pictures = [self._by_head(F.linear(picture_BPD, layer.picture_keys_values)) for layer in self.layers]
        two, staves, heads, _, width = pictures[0].shape
        symbols = [picture_BPD.new_empty(two, staves, heads, longest, width) for _ in self.layers]
        return Memory(pictures, symbols)

    def __call__(self, ids_BS: Tensor, position: int, memory: Memory) -> tuple[Tensor, ...]:
        """Scores of the symbol after the one at `position`, [B, V] for each of `SYMBOL_BRANCHES`.

        Args:
            ids_BS: the symbol at `position`, by branch; those before it are in the memory, where this one is put.
        """
        x_BD = self.positions_TD[position].expand(len(ids_BS), -1)
        for embedding, ids_B in zip(self.embeddings, ids_BS.unbind(dim=1), strict=True):
            x_BD = x_BD + F.embedding(ids_B, embedding)
        with torch.autocast(self.device, enabled=False):
            for layer, symbols, picture in zip(self.layers, memory.symbols, memory.pictures, strict=True):
                x_BD = self._through(layer, x_BD, position, symbols, picture)
            scores_BV = F.linear(self.final_norm(x_BD).to(self.dtype), *self.out)
        return torch.split(scores_BV, self.sizes, dim=1)

    def _through(
        self, layer: _Layer, x_BD: Tensor, position: int, symbols_2BNTK: Tensor, picture_2BNPK: Tensor
    ) -> Tensor:
        normed_BD = layer.own_norm(x_BD).to(self.dtype)
        queries_keys_values = F.linear(normed_BD, layer.own_queries_keys_values).view(len(x_BD), 3, self.heads, -1)
        symbols_2BNTK[:, :, :, position] = queries_keys_values[:, 1:].transpose(0, 1)
        known_2BNTK = symbols_2BNTK[:, :, :, : position + 1]
        x_BD = x_BD + self._attend(queries_keys_values[:, 0], known_2BNTK, layer.own_out)
        queries = F.linear(layer.picture_norm(x_BD).to(self.dtype), layer.picture_queries)
        x_BD = x_BD + self._attend(queries.view(len(x_BD), self.heads, -1), picture_2BNPK, layer.picture_out)
        both = F.linear(layer.forward_norm(x_BD).to(self.dtype), *layer.forward_in)
        values, gate = both.chunk(2, dim=-1)
        return x_BD + F.linear(values * F.gelu(gate), *layer.forward_out)

    def _attend(self, queries_BNK: Tensor, known_2BNTK: Tensor, out: Tensor) -> Tensor:
        keys, values = known_2BNTK
        seen = F.scaled_dot_product_attention(queries_BNK[:, :, None], keys, values)
        seen_BD = F.linear(seen.flatten(1), out)
        return F.glu(seen_BD, dim=-1) if len(out) > self.positions_TD.shape[1] else seen_BD

    def _by_head(self, both_BPE: Tensor) -> Tensor:
        """Keys beside values to [2, B, N, P, K]."""
        staves, cells, _ = both_BPE.shape
        return both_BPE.view(staves, cells, 2, self.heads, -1).permute(2, 0, 3, 1, 4).contiguous()

    def _layer(self, own: Any, picture: Any, forward: Any) -> _Layer:
        into, *_, out_of = (part for part in forward[1].ff if not isinstance(part, nn.Dropout))
        return _Layer(
            own_norm=_norm(own[0][0]),
            own_queries_keys_values=self._rounded([own[1].to_q.weight, own[1].to_k.weight, own[1].to_v.weight]),
            own_out=self._rounded([_last(own[1].to_out)]),
            picture_norm=_norm(picture[0][0]),
            picture_queries=self._rounded([picture[1].to_q.weight]),
            picture_keys_values=self._rounded([picture[1].to_k.weight, picture[1].to_v.weight]),
            picture_out=self._rounded([_last(picture[1].to_out)]),
            forward_norm=_norm(forward[0][0]),
            forward_in=(self._rounded([into.proj.weight]), self._rounded([into.proj.bias])),
            forward_out=(self._rounded([out_of.weight]), self._rounded([out_of.bias])),
        )

    def _rounded(self, weights: list[Tensor]) -> Tensor:
        """Beside one another, in the precision of the products."""
        return (torch.cat(weights) if len(weights) > 1 else weights[0]).to(self.dtype)


def kernels_of_any_length() -> ContextDecorator:
    """Around steps: every kernel for attention but cuDNN's.

    In half precision PyTorch prefers cuDNN's on GPUs of capability 9.0 and 10.0. That one builds a graph for each size
    of batch and each length that it meets, which takes tens of milliseconds, and keeps them all: there would be one for
    nearly every step. The others take any length, and x-transformers allows no more than these in training.
    """
    context: ContextDecorator = sdpa_kernel(
        [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    )
    return context


def _norm(norm: Any) -> _Norm:
    """Of torch's, or of x-transformers', which has no bias."""
    if isinstance(norm, nn.LayerNorm):
        return _Norm(norm.weight, norm.bias)
    return _Norm(norm.gamma + float(norm.unit_offset), None)


def _last(out: Any) -> Tensor:
    """The projection out of the heads; with attention on attention there is a gate behind it."""
    projection: Any = out[0] if isinstance(out, nn.Sequential) else out
    weight: Tensor = projection.weight
    return weight
