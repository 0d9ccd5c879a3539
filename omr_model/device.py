"""Mixed precision and devices, in one place."""

from __future__ import annotations

import os

import torch

from datasets.errors import ConfigError

_BF16_LEVELS = ("AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX512_CORE_AMX", "AVX10")  # oneDNN's names
_TYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which forward passes run: `fp32` leaves everything as it is."""
    dtype = _TYPES[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def supported_precision(device: torch.device, precision: str) -> str:
    """What is really used: on a GPU, fp16 in place of a bf16 that it would only emulate (before Ampere).

    `mixed` is bf16 on a GPU and on a CPU with instructions for it, and fp32 on any other CPU, where lower precisions
    save nothing.
    """
    if precision == "mixed":
        precision = "bf16" if device.type == "cuda" or has_bf16_instructions() else "fp32"
    emulated = device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
    return "fp16" if precision == "bf16" and emulated else precision


def has_bf16_instructions() -> bool:
    """Whether this machine's CPU multiplies in bf16, and oneDNN, which computes most of it, is allowed to let it."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.11 does not tell yet
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL").upper()
    has = any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    return has and any(allowed.startswith(name) for name in ("ALL", "DEFAULT", *_BF16_LEVELS))


def grad_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler:
    """Scales the loss for fp16, whose gradients underflow; does nothing otherwise."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def resolve_device(name: str, field: str = "train.device") -> torch.device:
    """`auto` is the GPU where there is one.

    Args:
        name: as torch has it, or `auto`.
        field: where it was said, for the message.

    Raises:
        ConfigError: no device has this name, or a GPU is asked for and there is none, or none of this number.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"{field}={name}: this machine has no CUDA GPU; there is cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"{field}={name}: there are auto, cpu, cuda and cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        gpus = "one CUDA GPU, cuda:0" if count == 1 else f"{count} CUDA GPUs, cuda:0 to cuda:{count - 1}"
        raise ConfigError(f"{field}={name}: this machine has {gpus}")
    return device


def preset_for_device(name: str) -> str:
    """The preset that `auto` stands for: `paper` where the device is a GPU, else `tiny`."""
    return "paper" if resolve_device(name).type == "cuda" else "tiny"
