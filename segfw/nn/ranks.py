"""Sums and means over the processes of a distributed training, so that many small batches act as one large batch."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

SMALLEST_DENOMINATOR = 1e-8


def sum_over_ranks(values: Tensor) -> Tensor:
    """Return the sum of `values` over all ranks, differentiably; `values` themselves in a single process.

    Every rank gets the gradient of the sum of all ranks' losses, which the averaging of gradients divides by their
    number: where each rank has the same loss of these sums, as that of a batch Dice, its own gradient is left.
    """
    if not is_distributed():
        return values
    total: Tensor = _SumOverRanks.apply(values)  # type: ignore[no-untyped-call]  # torch does not annotate apply
    return total


def mean_over_ranks(total: Tensor, count: Tensor | float) -> Tensor:
    """Return this rank's part of the mean sum(total) / sum(count) over all ranks, so that the parts average to it.

    Ranks may hold different counts, as of voxels that are not ignored. 0 where nothing is counted at all.
    """
    if not isinstance(count, Tensor):
        count = torch.full_like(total, count, requires_grad=False)  # unlike a copy, no wait for the device
    if not is_distributed():
        return total / count.clamp_min(SMALLEST_DENOMINATOR)
    denominator = count.detach().to(total.dtype, copy=True)
    dist.all_reduce(denominator)
    return total * dist.get_world_size() / denominator.clamp_min(SMALLEST_DENOMINATOR)


def is_distributed() -> bool:
    """Whether this process is one of several with a process group."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class _SumOverRanks(torch.autograd.Function):
    """All-reduce by sum whose gradient is the sum of the ranks' gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total
