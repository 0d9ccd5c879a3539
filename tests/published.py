"""TrOMR's published weights, made of random numbers: names, shapes and arithmetic of the published code.

Written from its layout (github.com/NetEase/Polyphonic-TrOMR: timm 0.6.5, x-transformers 0.29.2), with nothing of ours
in it, so that an imported model can be held against it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]

WIDTH, HEADS, HEAD_WIDTH, DEPTH, CELLS, LENGTH = 256, 8, 64, 4, 640, 256
STAGES = ((2, 256), (3, 512), (7, 1024))
BACKBONE = "encoder.patch_embed.backbone"
LAYERS = "decoder.net.attn_layers.layers"


def published(tokens: dict[str, int], seed: int = 0) -> Weights:
    """All 261 tensors, for so many tokens in the rhythm, pitch and lift branch."""
    generator = torch.Generator().manual_seed(seed)
    return {name: _random(name, shape, generator) for name, shape in _shapes(tokens).items()}


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    numbers = torch.randn(shape, generator=generator)
    if len(shape) > 1:
        return numbers if "emb" in name or "token" in name else numbers / math.sqrt(math.prod(shape[1:]))
    return 0.1 * numbers + (1 if "norm" in name and name.endswith("weight") else 0)


def _shapes(tokens: dict[str, int]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name: str, *shape: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = shape
        if bias:
            shapes[f"{name}.bias"] = shape[:1]

    shapes |= {"encoder.cls_token": (1, 1, WIDTH), "encoder.pos_embed": (1, CELLS + 1, WIDTH)}
    layer(f"{BACKBONE}.stem.conv", 64, 1, 7, 7, bias=False)
    layer(f"{BACKBONE}.stem.norm", 64)
    before = 64
    for stage, (blocks, channels) in enumerate(STAGES):
        for number in range(blocks):
            block = f"{BACKBONE}.stages.{stage}.blocks.{number}"
            if number == 0:
                layer(f"{block}.downsample.conv", channels, before, 1, 1, bias=False)
                layer(f"{block}.downsample.norm", channels)
            inside = channels // 4
            for index, (out, into, kernel) in enumerate(
                ((inside, before, 1), (inside, inside, 3), (channels, inside, 1))
            ):
                layer(f"{block}.conv{index + 1}", out, into, kernel, kernel, bias=False)
                layer(f"{block}.norm{index + 1}", out)
            before = channels
    layer("encoder.patch_embed.proj", WIDTH, before, 1, 1)
    for number in range(DEPTH):
        for name, out, into in (("attn.qkv", 3, 1), ("attn.proj", 1, 1), ("mlp.fc1", 4, 1), ("mlp.fc2", 1, 4)):
            layer(f"encoder.blocks.{number}.{name}", out * WIDTH, into * WIDTH)
        layer(f"encoder.blocks.{number}.norm1", WIDTH)
        layer(f"encoder.blocks.{number}.norm2", WIDTH)
    layer("encoder.norm", WIDTH)
    shapes["decoder.note_mask"] = (tokens["rhythm"],)
    for branch, size in tokens.items():
        layer(f"decoder.net.{branch}_emb.emb", size, WIDTH, bias=False)
    layer("decoder.net.pos_emb.emb", LENGTH, WIDTH, bias=False)
    for number in range(3 * DEPTH):
        shapes |= {f"{LAYERS}.{number}.0.0.weight": (WIDTH,), f"{LAYERS}.{number}.0.0.bias": (WIDTH,)}
        if number % 3 == 2:
            layer(f"{LAYERS}.{number}.1.net.0.proj", 8 * WIDTH, WIDTH)
            layer(f"{LAYERS}.{number}.1.net.3", WIDTH, 4 * WIDTH)
            continue
        for name in ("to_q", "to_k", "to_v"):
            layer(f"{LAYERS}.{number}.1.{name}", HEADS * HEAD_WIDTH, WIDTH, bias=False)
        layer(f"{LAYERS}.{number}.1.to_out.0", 2 * WIDTH, HEADS * HEAD_WIDTH, bias=False)
    layer("decoder.net.norm", WIDTH)
    for branch, size in {**tokens, "note": 2}.items():
        layer(f"decoder.net.to_logits_{branch}", size, WIDTH)
    return shapes


def encode(weights: Weights, image_B1HW: Tensor) -> Tensor:
    """Gray levels 0..255 to the features of the class token and the cells, [B, 1 + P, D]."""
    w = weights
    x = (image_B1HW / 255 - 0.7931) / 0.1738
    x = F.relu(_group_norm(w, f"{BACKBONE}.stem.norm", _convolved(w, f"{BACKBONE}.stem.conv", x, stride=2)))
    x = F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2)
    for stage, (blocks, _) in enumerate(STAGES):
        for number in range(blocks):
            x = _bottleneck(w, f"{BACKBONE}.stages.{stage}.blocks.{number}", x, 2 if stage and not number else 1)
    x = F.conv2d(x, w["encoder.patch_embed.proj.weight"], w["encoder.patch_embed.proj.bias"]).flatten(2).mT
    x = torch.cat((w["encoder.cls_token"].expand(len(x), -1, -1), x), dim=1) + w["encoder.pos_embed"]
    for number in range(DEPTH):
        block = f"encoder.blocks.{number}"
        queries, keys, values = _linear(w, f"{block}.attn.qkv", _norm(w, f"{block}.norm1", x, 1e-6)).chunk(3, dim=2)
        x = x + _linear(w, f"{block}.attn.proj", _attention(queries, keys, values))
        hidden = F.gelu(_linear(w, f"{block}.mlp.fc1", _norm(w, f"{block}.norm2", x, 1e-6)))
        x = x + _linear(w, f"{block}.mlp.fc2", hidden)
    return _norm(w, "encoder.norm", x, 1e-6)


def score(weights: Weights, ids: dict[str, Tensor], picture: Tensor) -> dict[str, Tensor]:
    """Numbers of symbols by branch, [B, T], to the scores of the next one, [B, T, V]."""
    w, length = weights, ids["rhythm"].shape[1]
    x = sum(
        (w[f"decoder.net.{branch}_emb.emb.weight"][numbers] for branch, numbers in ids.items()), start=torch.zeros(())
    )
    x = x + w["decoder.net.pos_emb.emb.weight"][:length] * WIDTH**-0.5
    for number in range(3 * DEPTH):
        layer = f"{LAYERS}.{number}"
        normed = _norm(w, f"{layer}.0.0", x)
        if number % 3 == 2:
            value, gate = _linear(w, f"{layer}.1.net.0.proj", normed).chunk(2, dim=2)
            x = x + _linear(w, f"{layer}.1.net.3", value * F.gelu(gate))
            continue
        source = normed if number % 3 == 0 else picture
        queries, keys, values = (
            _linear(w, f"{layer}.1.{name}", of) for name, of in (("to_q", normed), ("to_k", source), ("to_v", source))
        )
        x = x + F.glu(
            _linear(w, f"{layer}.1.to_out.0", _attention(queries, keys, values, causal=number % 3 == 0)), dim=2
        )
    x = _norm(w, "decoder.net.norm", x)
    return {branch: _linear(w, f"decoder.net.to_logits_{branch}", x) for branch in (*ids, "note")}


def _linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def _norm(w: Weights, name: str, x: Tensor, epsilon: float = 1e-5) -> Tensor:
    return F.layer_norm(x, (WIDTH,), w[f"{name}.weight"], w[f"{name}.bias"], epsilon)


def _group_norm(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.group_norm(x, 32, w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)


def _convolved(w: Weights, name: str, x: Tensor, stride: int = 1) -> Tensor:
    """With standardised kernels, and padded for a size divided by the stride, an odd pixel below and on the right."""
    kernel = w[f"{name}.weight"]
    spread, mean = torch.var_mean(kernel, dim=(1, 2, 3), keepdim=True, unbiased=False)
    pad = max(kernel.shape[-1] - stride, 0)
    x = F.pad(x, (pad // 2, pad - pad // 2) * 2)
    return F.conv2d(x, (kernel - mean) / torch.sqrt(spread + 1e-6), stride=stride)


def _bottleneck(w: Weights, name: str, x: Tensor, stride: int) -> Tensor:
    shortcut = x
    if f"{name}.downsample.conv.weight" in w:
        shortcut = _group_norm(w, f"{name}.downsample.norm", _convolved(w, f"{name}.downsample.conv", x, stride))
    x = F.relu(_group_norm(w, f"{name}.norm1", _convolved(w, f"{name}.conv1", x)))
    x = F.relu(_group_norm(w, f"{name}.norm2", _convolved(w, f"{name}.conv2", x, stride)))
    return F.relu(_group_norm(w, f"{name}.norm3", _convolved(w, f"{name}.conv3", x)) + shortcut)


def _attention(queries: Tensor, keys: Tensor, values: Tensor, causal: bool = False) -> Tensor:
    queries, keys, values = (each.unflatten(2, (HEADS, -1)).transpose(1, 2) for each in (queries, keys, values))
    scores = queries @ keys.mT / math.sqrt(queries.shape[-1])
    if causal:
        scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -math.inf)
    return (scores.softmax(dim=-1) @ values).transpose(1, 2).flatten(2)
