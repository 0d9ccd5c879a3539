"""A GPU's memory, which trials share: how running out of it is told from other errors, and how it is given back."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from typing import TypeAlias

SECONDS_TO_BE_FREED = 30.0  # a process that was killed may hold its memory for so long
SECONDS_BETWEEN_LOOKS = 0.2
WHOLE = 0.9  # of a GPU that nobody else uses, so much is free
NO_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""What CUDA and its libraries say where torch's own allocator was not asked."""

Look: TypeAlias = Callable[[], tuple[int, int]]
"""Bytes of the GPU that are free, and all."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether a training ended for want of a GPU's memory."""
    torch = sys.modules.get("torch")  # it may be its import that failed
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "CU" in str(error) and any(text in str(error) for text in NO_MEMORY)


def memory_told() -> str:
    """This process's peak, and what GPU it is of; nothing where there is none."""
    import torch

    if not torch.cuda.is_available():
        return ""
    try:
        peak, gpu = torch.cuda.max_memory_reserved(), torch.cuda.get_device_properties(torch.cuda.current_device())
    except RuntimeError:  # the GPU's driver has given up, too
        return ""
    return f"peak {peak / 1e9:.3g} GB of the {gpu.total_memory / 1e9:.3g} GB of {gpu.name}"


def free_memory() -> None:
    """Give back what the trial before had, in a process that goes on: trials beside it wait for that."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def wait_for_memory(
    needed: int | None, look: Look | None = None, sleep: Callable[[float], object] = time.sleep
) -> str | None:
    """Wait until so much of the GPU is free, or nearly all of it; but not for long.

    Args:
        needed: bytes; None is nearly all of them.
        look: another GPU than this process's own.

    Returns:
        What a person should know where that was in vain, or None; and None without a GPU.
    """
    look = look or _gpu()
    if look is None:
        return None
    waited = 0.0
    while True:
        free, total = look()
        wanted = WHOLE * total if needed is None else min(needed, WHOLE * total)
        if free >= wanted:
            return None
        if waited >= SECONDS_TO_BE_FREED:
            return f"begins with {free / 1e9:.3g} of {total / 1e9:.3g} GB of the GPU free; wanted: {wanted / 1e9:.3g}"
        sleep(SECONDS_BETWEEN_LOOKS)
        waited += SECONDS_BETWEEN_LOOKS


def _gpu() -> Look | None:
    import torch

    return torch.cuda.mem_get_info if torch.cuda.is_available() else None
