"""The picture side of TrOMR: a timm backbone, and a Vision Transformer over its feature map.

Letters in tensor names: B staves, H and W pixels, P cells of the feature map, D embedding width.
"""

from __future__ import annotations

from functools import partial

import timm.layers
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from omr_model.backbones import build_backbone
from omr_model.config import GRAY_MEAN, GRAY_STD, ModelConfig


class Encoder(nn.Module):
    """Staff images to one vector for each cell of the backbone's feature map."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        transformer = VisionTransformer(
            img_size=(config.height, config.width),
            in_chans=1,
            num_classes=0,
            global_pool="",
            class_token=config.encoder.class_token,
            embed_dim=config.embedding,
            depth=config.encoder.depth,
            num_heads=config.encoder.heads,
            proj_drop_rate=config.encoder.dropout,
            attn_drop_rate=config.encoder.attention_dropout,
            patch_size=config.encoder.patch,
            embed_layer=partial(timm.layers.HybridEmbed, backbone=build_backbone(config.backbone)),
        )
        # Convolutions and pooling run faster so: a step of the tiny preset took 0.73 times as long on a CPU core.
        self.transformer = transformer.to(memory_format=torch.channels_last)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the cells, which are numbered along the rows."""
        rows, columns = self.transformer.patch_embed.grid_size
        return rows, columns

    def forward(self, image_B1HW: Tensor) -> Tensor:
        """Gray levels 0..255 of shape [B, 1, H, W] to features [B, P, D]; a class token comes before the cells."""
        normal_B1HW = (image_B1HW.float() / 255 - GRAY_MEAN) / GRAY_STD
        features_BPD: Tensor = self.transformer(normal_B1HW)
        return features_BPD
