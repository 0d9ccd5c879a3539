"""Which of PyTorch's kernels a training runs on, where the one that it takes by itself is slow. No number moves by
more than rounding, and no weight changes its name.
"""

from __future__ import annotations

from functools import partial

import torch
from timm.models.vision_transformer import Block
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from x_transformers.attend import Attend


def choose_kernels(model: nn.Module, device: torch.device, precision: str) -> None:
    """Set a model's attention to the quickest kernel for training on a device, in place.

    On a CPU the backward pass of PyTorch's fused attention takes several times as long in bf16 as in fp32: in the tiny
    preset a fifth of the step. Written out, attention is a few small products.
    """
    if device.type != "cpu" or precision != "bf16":
        return
    for module in model.modules():
        if isinstance(module, Attend):
            module.sdp_context_manager = partial(sdpa_kernel, [SDPBackend.MATH])
        elif isinstance(module, Block):
            module.attn.fused_attn = False  # type: ignore[assignment]
