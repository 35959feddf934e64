"""From logits and targets to what the terms of a loss are made of: probabilities, truth, and entropies per voxel.

Everything is float32 whatever the precision of the network.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class VoxelScores:
    """One output of a network set against its target.

    `probabilities`, `truth` `(B, K, *space)`: of every channel, both 0 where voxels are ignored. `entropies`
    `(B, 1 or K, *space)`: cross-entropy, smoothed and not weighted. `weights`: broadcast to the entropies, 0 where
    voxels are ignored; None where all are 1. `count`: what a weighted sum of entropies is divided by for its mean.
    `planes` `(B, 1 or K, *space)`: maps whose values 1, 2, ... are the foreground. `first`: the first channel that is
    foreground.
    """

    probabilities: Tensor
    truth: Tensor
    entropies: Tensor
    weights: Tensor | None
    count: Tensor | float
    planes: Tensor
    first: int

    @cached_property
    def sums(self) -> tuple[Tensor, Tensor, Tensor]:
        """Overlap, prediction and truth `(B, K)` of the foreground, summed over space."""
        every = (self.truth * self.probabilities, self.probabilities, self.truth)
        overlap, predicted, truth = (sum_over_space(values)[:, self.first :] for values in every)
        return overlap, predicted, truth

    @property
    def foreground(self) -> tuple[Tensor, Tensor]:
        """Probabilities and truth `(B, K, *space)` without the background."""
        return self.probabilities[:, self.first :], self.truth[:, self.first :]


def softmax_scores(
    logits: Tensor, target: Tensor, ignores: bool, class_weights: Tensor | None, smoothing: float
) -> VoxelScores:
    """Score exclusive labels: `logits` `(B, C, *space)`, `target` `(B, 1, *space)` integer.

    Where there is an ignore label, voxels of a value from C on count nowhere; elsewhere PyTorch refuses such values.
    """
    logits, target = logits.float().contiguous(), target.long().contiguous()
    channels = logits.shape[1]
    one_hot = _one_hot(target, channels)
    chosen = target.clamp_max(channels - 1) if ignores else target
    probabilities, entropies = _SoftmaxEntropy.apply(  # type: ignore[no-untyped-call]  # torch does not annotate apply
        logits, chosen, one_hot
    )
    if smoothing:
        uniform = torch.logsumexp(logits, 1, keepdim=True) - logits.mean(1, keepdim=True)
        entropies = (1 - smoothing) * entropies + smoothing * uniform
    weights = None
    if ignores:
        weights = one_hot.sum(1, keepdim=True)
        probabilities = probabilities * weights
    if class_weights is not None:
        weights = class_weights[chosen] if weights is None else class_weights[chosen] * weights
    count = entropies.numel() if weights is None else weights.sum()
    planes = torch.where(target < channels, target, 0) if ignores else target
    return VoxelScores(probabilities, one_hot, entropies, weights, count, planes, first=1)


def sigmoid_scores(
    logits: Tensor, target: Tensor, ignores: bool, class_weights: Tensor | None, smoothing: float
) -> VoxelScores:
    """Score regions, which may overlap: `logits` `(B, R, *space)`, `target` `(B, R, *space)` of 0 and 1.

    With an ignore label `target` has one more channel, 1 where voxels count nowhere. As in nnU-Net the masked
    cross-entropy is a sum over channels and the unmasked one a mean.
    """
    logits, target = logits.float(), target.float()
    probabilities = logits.sigmoid()
    weights: Tensor | None = None
    count: Tensor | float = float(logits.numel())
    if class_weights is not None:
        relative = class_weights * class_weights.numel() / class_weights.sum()
        weights = relative.view(1, -1, *[1] * (logits.ndim - 2)).expand_as(logits)
    if ignores:
        valid = 1 - target[:, -1:]
        target = target[:, :-1] * valid
        probabilities = probabilities * valid
        weights, count = valid if weights is None else weights * valid, valid.sum()
    soft = target * (1 - smoothing) + smoothing / 2 if smoothing else target
    entropies = F.binary_cross_entropy_with_logits(logits, soft, reduction="none")
    return VoxelScores(probabilities, target, entropies, weights, count, target, first=0)


def sum_over_space(values: Tensor) -> Tensor:
    """Sum `(B, C, *space)` over space."""
    return values.flatten(2).sum(2)


def _one_hot(target: Tensor, channels: int) -> Tensor:
    """Turn integers `(B, 1, *space)` into float32 `(B, channels, *space)`, compared as floats right into the result.

    On a CPU that takes a seventh of the time of comparing integers and converting what was found.
    """
    values = torch.arange(channels, device=target.device, dtype=torch.float32).view(1, -1, *[1] * (target.ndim - 2))
    shape = (target.shape[0], channels, *target.shape[2:])
    return torch.eq(target.float(), values, out=values.new_empty(shape))


class _SoftmaxEntropy(torch.autograd.Function):
    """Softmax `(B, C, *space)` and cross-entropy `(B, 1, *space)` of contiguous logits, from one set of exponentials.

    On a CPU `log_softmax` takes three times as long as `softmax`, and their gradients are one formula here.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, one_hot: Tensor) -> tuple[Tensor, Tensor]:
        probabilities = logits.softmax(1)
        # log p of the likeliest channel is exact, since that p is at least 1 / C; the others differ by their logits
        best = logits.amax(1, keepdim=True)
        entropies = best.sub_(logits.gather(1, target)).sub_(probabilities.amax(1, keepdim=True).log_())
        ctx.save_for_backward(probabilities, one_hot)
        ctx.set_materialize_grads(False)
        return probabilities, entropies

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None, None]:
        probabilities, one_hot = ctx.saved_tensors
        of_probabilities, of_entropies = gradients
        if of_probabilities is None:
            return None if of_entropies is None else (probabilities - one_hot) * of_entropies, None, None
        gradient = torch._softmax_backward_data(of_probabilities, probabilities, 1, probabilities.dtype)
        if of_entropies is not None:
            gradient.addcmul_(probabilities, of_entropies).addcmul_(one_hot, of_entropies, value=-1)
        return gradient, None, None
