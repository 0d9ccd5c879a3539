"""torch.compile by regions: each kind of block once, however many of it a model has, and for sequences of any length.

Compiling the model whole takes several times as long and asks for sequences padded to one length, most of which is
padding. Regions are: the backbone; a block of the encoder; self-attention, cross-attention and feed-forward of the
decoder; the loss. Between them little is computed. What is compiled is kept on the disk by PyTorch (see
TORCHINDUCTOR_CACHE_DIR), so the trials of a study, and those of the next one, compile what no other has before.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from contextlib import AbstractContextManager

import torch
import torch._dynamo
from torch import nn

from omr_model.model import TrOMR

MOST_VARIANTS = 64
"""Of one region: blocks of one class share them, each with its rate of stochastic depth and each stair of a dropout
schedule. Beyond its limit, which is 8 by itself, torch compiles no more, without a word."""
PADDED_TO = 8
"""What the decoder sees is as long as a multiple of this: tensor cores like it, and there are few shapes to tell
apart."""
OLDEST = (7, 0)  # compute capability that Triton generates code for; torch says so when it compiles


def compile_regions(model: TrOMR, loss: nn.Module, backend: str = "inductor") -> None:
    """Compile a model's blocks and its loss, in place, when they are first called; names and weights stay."""
    limits = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, MOST_VARIANTS)
    limits.accumulated_recompile_limit = max(limits.accumulated_recompile_limit, 16 * MOST_VARIANTS)
    transformer = model.encoder.transformer
    transformer.patch_embed.get_submodule("backbone").compile(backend=backend)
    for block in transformer.blocks:
        block.compile(backend=backend)
    for _, block, _ in model.decoder.attention.layers:  # norms, the block, what adds it up
        block.compile(backend=backend, dynamic=True)
    loss.compile(backend=backend, dynamic=True)


def pays(device: torch.device) -> bool:
    """Whether training on a device becomes quicker by compiling.

    On a CPU it does not: the backbone of the tiny preset, compiled in a minute, was no quicker than PyTorch's own
    kernels, so there nothing is compiled.
    """
    return device.type == "cuda" and not obstacle(device)


def obstacle(device: torch.device) -> str:
    """What keeps a GPU from being compiled for, in a sentence; else empty, as on a CPU, where it would not pay.

    Without this the training would end at its first step: Triton builds with a C compiler what starts its kernels.
    """
    if device.type != "cuda":
        return ""
    missing = ""
    if (capability := torch.cuda.get_device_capability(device)) < OLDEST:
        missing = f"a GPU of compute capability 7.0 (this one has {capability[0]}.{capability[1]})"
    elif importlib.util.find_spec("triton") is None:
        missing = "Triton"
    elif _c_compiler() is None:
        missing = "a C compiler: install gcc, or name one in CC"
    return missing and f"train.compile: nothing is compiled, for that needs {missing}"


def _c_compiler() -> str | None:
    """The one that Triton takes (`triton.runtime.build`): the program named in CC, else gcc, else clang."""
    named = os.environ.get("CC")
    return shutil.which(named) if named is not None else shutil.which("gcc") or shutil.which("clang")


def uncompiled() -> AbstractContextManager[None]:
    """Around an evaluation, whose batches have other shapes and whose model is in another mode: run as it was built."""
    return torch.compiler.set_stance("force_eager")  # type: ignore[no-any-return]
