"""The text side of TrOMR: an x-transformers decoder that reads and writes four aligned branches.

Letters in tensor names: B staves, T positions in the sequence, P cells of the picture, D embedding width,
V entries of a branch's vocabulary.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from datasets.vocabulary import Vocabulary
from omr_model.config import BRANCHES, ModelConfig

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # it compiles a function with torch.jit.script on import
    from x_transformers import Decoder as Attention
    from x_transformers.x_transformers import Intermediates, LayerIntermediates, LayerNorm

Cache: TypeAlias = LayerIntermediates
"""Keys and values of the positions that were computed, layer by layer."""
KeysValues: TypeAlias = Intermediates
"""Those of one attention in a cache: every layer has two, over the symbols and over the picture."""


@dataclass(frozen=True)
class Logits:
    """Scores of the next symbol, a tensor of shape [B, T, V] for each branch."""

    rhythm: Tensor
    pitch: Tensor
    lift: Tensor
    note: Tensor

    def items(self) -> list[tuple[str, Tensor]]:
        """Branch names with their scores, in the order of `BRANCHES`."""
        return [(branch, getattr(self, branch)) for branch in BRANCHES]


class Decoder(nn.Module):
    """Symbols so far and the picture to scores for the next symbol.

    The sum of a symbol's rhythm, pitch and lift embeddings goes in, as in TrOMR; the note flag only comes out.
    """

    def __init__(self, config: ModelConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        width = config.embedding
        self.rhythm_embedding = nn.Embedding(len(vocabulary.rhythm), width)
        self.pitch_embedding = nn.Embedding(len(vocabulary.pitch), width)
        self.lift_embedding = nn.Embedding(len(vocabulary.lift), width)
        self.position_embedding = nn.Embedding(config.max_length, width)
        self.attention = Attention(
            dim=width,
            depth=config.decoder.depth,
            heads=config.decoder.heads,
            attn_dim_head=config.decoder.head_width or width // config.decoder.heads,
            cross_attend=True,
            ff_glu=True,
            attn_on_attn=config.decoder.attention_on_attention,
            cross_attn_on_attn=config.decoder.attention_on_attention,
            attn_dropout=config.decoder.attention_dropout,
            ff_dropout=config.decoder.dropout,
            attn_flash=True,
        )
        if config.decoder.norm_bias:
            _give_norms_a_bias(self.attention, width)
        self.heads = nn.ModuleDict(
            {
                "rhythm": nn.Linear(width, len(vocabulary.rhythm)),
                "pitch": nn.Linear(width, len(vocabulary.pitch)),
                "lift": nn.Linear(width, len(vocabulary.lift)),
                "note": nn.Linear(width, 2),
            }
        )
        for name, parameter in self.named_parameters():
            if name.endswith("embedding.weight"):
                nn.init.normal_(parameter, std=0.02)

    def forward(
        self,
        rhythm_BT: Tensor,
        pitch_BT: Tensor,
        lift_BT: Tensor,
        picture_BPD: Tensor,
        cache: Cache | None = None,
    ) -> tuple[Logits, Cache]:
        """Scores for the symbol after each position, and the keys and values to pass as the next `cache`.

        With a cache the sequence is still given whole, but only its last position is computed: the scores
        then have shape [B, 1, V].
        """
        positions_T = torch.arange(rhythm_BT.shape[1], device=rhythm_BT.device)
        x_BTD = (
            self.rhythm_embedding(rhythm_BT)
            + self.pitch_embedding(pitch_BT)
            + self.lift_embedding(lift_BT)
            + self.position_embedding(positions_T)
        )
        x_BTD, intermediates = self.attention(x_BTD, context=picture_BPD, cache=cache, return_hiddens=True)
        return Logits(**{branch: head(x_BTD) for branch, head in self.heads.items()}), intermediates


def _give_norms_a_bias(attention: nn.Module, width: int) -> None:
    for module in list(attention.modules()):
        for name, child in module.named_children():
            if isinstance(child, LayerNorm):
                setattr(module, name, nn.LayerNorm(width))
