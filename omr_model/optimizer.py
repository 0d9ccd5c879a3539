"""AdamW: which parameters decay, which kernel steps, and the learning rate at every step."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from datasets.errors import ConfigError
from omr_model.config import OptimizerConfig
from omr_model.fits import check_installed


def adamw(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW with decoupled weight decay (Loshchilov & Hutter, arXiv 1711.05101) on the parameters that the
    configuration names.

    Raises:
        ConfigError: NVIDIA Apex is asked for, and it is not installed or has no GPU to run on.
    """
    check_installed(config)
    groups = decay_groups(model, config)
    betas = (config.beta1, config.beta2)
    if config.fused == "apex":
        return _apex()(groups, lr=config.learning_rate, betas=betas, adam_w_mode=True)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, fused=config.fused == "torch")


def decay_groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, object]]:
    """The parameters that decay, and those that do not.

    Matrices and kernels always decay. One-dimensional parameters are biases by their name, or else a norm's;
    tables of tokens and of positions are embeddings.
    """
    embeddings = {
        id(weight) for module in model.modules() if isinstance(module, nn.Embedding) for weight in module.parameters()
    }
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if id(parameter) in embeddings or name.endswith("pos_embed"):
            decays = config.decay_embeddings
        elif name.endswith("bias"):
            decays = config.decay_biases
        else:
            decays = parameter.ndim >= 2 or config.decay_norms
        (decayed if decays else free).append(parameter)
    return [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """The rate of a step, counted from 0: linear warm-up to the peak, then what `schedule` says.

    Args:
        steps: of the whole training; cosine and linear schedules come to zero with the last.
    """
    warmup = max(1, round(config.warmup * steps))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    share = {"cosine": 0.5 * (1 + math.cos(math.pi * progress)), "linear": 1 - progress, "constant": 1.0}
    return config.learning_rate * share[config.schedule]


def _apex() -> Callable[..., torch.optim.Optimizer]:
    """Apex's FusedAdam, which is no package of any registry: NVIDIA's own build, on a GPU alone."""
    from apex.optimizers import FusedAdam

    if not torch.cuda.is_available():
        raise ConfigError("optimizer.fused=apex: Apex needs a CUDA GPU; there are torch and none")
    fused: Callable[..., torch.optim.Optimizer] = FusedAdam
    return fused
