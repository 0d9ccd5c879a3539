"""What a share of a batch must know of the whole of it: what the losses are divided by, and batch statistics.

Both are exact: the gradient that DistributedDataParallel makes of the ranks' is one process's of the whole batch. Sums
over ranks go forward with what is summed and backward with its gradient. Letters in tensor names: B staves, C channels,
H and W cells, T positions.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from datasets.vocabulary import PAD
from omr_model.config import BRANCHES
from omr_model.decoder import Logits
from omr_model.loss import LOSS_PARTS, Losses, TrOMRLoss
from omr_model.model import Batch
from omr_model.parallel import Parallel


class WholeLoss(nn.Module):
    """The loss of a share, such that the mean over all ranks is the whole batch's.

    Each part is a mean over positions, with weights. A share's mean counts as its weights' part of the whole's.

    Args:
        loss: of a batch by itself.
        parallel: this process's place; not alone.
    """

    def __init__(self, loss: TrOMRLoss, parallel: Parallel) -> None:
        super().__init__()
        self.loss = loss
        self.parallel = parallel

    def forward(self, logits: Logits, batch: Batch) -> Losses:
        """The parts, and their weighted sum."""
        own = self.loss(logits, batch)
        weights = position_weights(self.loss, batch)
        factors = self.parallel.world * weights / self.parallel.sum(weights)
        *branches, consistency = [
            getattr(own, part) * factor for part, factor in zip(LOSS_PARTS[1:], factors, strict=True)
        ]
        return self.loss.weighted(dict(zip(BRANCHES, branches, strict=True)), consistency)


def position_weights(loss: TrOMRLoss, batch: Batch) -> Tensor:
    """What each of the loss's parts is divided by to be a mean, in the order of `LOSS_PARTS` after `total`; [5]."""
    valid_BT = batch.rhythm[:, 1:] != PAD
    sums = []
    for branch in BRANCHES:
        weights_V: Tensor = getattr(loss, f"{branch}_weights")
        sums.append((weights_V[getattr(batch, branch)[:, 1:]] * valid_BT).sum())
    return torch.stack([*sums, valid_BT.sum().to(sums[0].dtype)])


class WholeBatchNorm(nn.BatchNorm2d):
    """A batch norm whose statistics are those of all ranks' shares.

    PyTorch's own needs a GPU, and its conversion loses the activation that timm's batch norms have inside. This one is
    the same on both; its name for a tensor, and what a checkpoint has, are the plain one's.
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Features of the same shape; as alone, with the running statistics, while it does not train."""
        if not self.training:
            alone: Tensor = super().forward(x_BCHW)
            return alone
        return self.finished(_normalised(self, x_BCHW))

    def finished(self, normalised_BCHW: Tensor) -> Tensor:
        """What the norm makes of its normalised features beside."""
        return normalised_BCHW


class WholeBatchNormAct(WholeBatchNorm, BatchNormAct2d):
    """timm's batch norm with an activation, with the statistics of all ranks' shares."""

    def finished(self, normalised_BCHW: Tensor) -> Tensor:
        """The activation, and what timm may drop before it."""
        activated: Tensor = self.act(self.drop(normalised_BCHW))
        return activated


WHOLE = {nn.BatchNorm2d: WholeBatchNorm, BatchNormAct2d: WholeBatchNormAct}


def with_whole_batch_norms(model: nn.Module) -> None:
    """Replace the batch norms inside a model, in place; parameters and buffers stay the same tensors."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            kind = WHOLE.get(type(child))
            if kind is not None:
                synced = copy.copy(child)  # shares its tensors, and all else that timm has set
                synced.__class__ = kind
                setattr(parent, name, synced)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # sums over ranks have no place in a compiled graph
def _normalised(norm: nn.BatchNorm2d, x_BCHW: Tensor) -> Tensor:
    """Two sums over the ranks: the mean's, then the squared distances' to it, which loses no digits."""
    wide_BCHW = x_BCHW.to(torch.promote_types(x_BCHW.dtype, torch.float32))
    sums_C = wide_BCHW.sum(dim=(0, 2, 3))
    count = wide_BCHW.new_tensor([wide_BCHW.numel() / wide_BCHW.shape[1]])
    first = _sum_of_ranks(torch.cat([sums_C, count]))
    mean_C, many = first[:-1] / first[-1], first[-1].detach()
    centred_BCHW = wide_BCHW - mean_C[:, None, None]
    variance_C = _sum_of_ranks(centred_BCHW.square().sum(dim=(0, 2, 3))) / many
    scale_C = torch.rsqrt(variance_C + norm.eps)
    if norm.track_running_stats:
        _keep(norm, mean_C.detach(), (variance_C * many / (many - 1)).detach())
    if norm.affine:
        scale_C = scale_C * norm.weight
        return (centred_BCHW * scale_C[:, None, None] + norm.bias[:, None, None]).to(x_BCHW.dtype)
    return (centred_BCHW * scale_C[:, None, None]).to(x_BCHW.dtype)


def _keep(norm: nn.BatchNorm2d, mean_C: Tensor, variance_C: Tensor) -> None:
    """Add a batch to the running statistics."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    momentum = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean_C, momentum)
    norm.running_var.lerp_(variance_C, momentum)


class _SumOfRanks(torch.autograd.Function):
    """The sum over all ranks. What a rank put in moves the losses of all, so its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:  # noqa: ARG004  # torch's signature
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _sum_of_ranks(own: Tensor) -> Tensor:
    total: Tensor = _SumOfRanks.apply(own)
    return total
