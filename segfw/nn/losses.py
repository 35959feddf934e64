"""The training loss: cross-entropy plus negative soft Dice, at every resolution of the decoder.

A perfect segmentation scores -1. Everything is computed in float32 whatever the precision of the network.

On several ranks every mean is over the samples and voxels of all of them, so that gradients averaged over the ranks are
those of one large batch, also where ranks have unequal shares of it. nnU-Net weighs each rank's cross-entropy alike.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from segfw.core.errors import UsageError
from segfw.core.labels import LabelSet
from segfw.core.training_settings import LossSettings
from segfw.core.types import Shape

SMALLEST_DENOMINATOR = 1e-8


class DiceCrossEntropy(nn.Module):
    """Softmax cross-entropy and Dice without background, for exclusive labels.

    `logits` `(B, C, *space)`, `target` `(B, 1, *space)` integer. Voxels whose value is none of the C labels, as the
    ignore label's, count nowhere; if no voxel is left the cross-entropy is 0.
    """

    def __init__(self, settings: LossSettings, labels: LabelSet, batch_dice: bool) -> None:
        super().__init__()
        self.settings = settings
        self.batch_dice = batch_dice
        self.ignores = labels.ignore_value is not None

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar."""
        values = torch.arange(logits.shape[1], device=target.device, dtype=target.dtype)
        one_hot = (target == values.view(1, -1, *[1] * (target.ndim - 2))).float()
        log_probabilities = F.log_softmax(logits.float(), dim=1)
        probabilities = log_probabilities.exp()
        truth = _sum_over_space(one_hot)
        cross_entropy = -(one_hot * log_probabilities).sum() / mean_over_ranks(truth.sum(), at_least=1)
        overlap = _sum_over_space(one_hot * probabilities)
        if self.ignores:
            probabilities = probabilities * one_hot.sum(1, keepdim=True)
        dice = mean_dice(
            overlap[:, 1:], _sum_over_space(probabilities)[:, 1:], truth[:, 1:], self.settings.smooth, self.batch_dice
        )
        return self.settings.ce_weight * cross_entropy - self.settings.dice_weight * dice


class DiceBinaryCrossEntropy(nn.Module):
    """Sigmoid cross-entropy and Dice of every channel, for regions, which may overlap.

    `logits` `(B, R, *space)`, `target` `(B, R, *space)` of 0 and 1; with an ignore label one more channel, 1 where
    voxels count nowhere. As in nnU-Net the masked cross-entropy is a sum over channels and the unmasked one a mean.
    """

    def __init__(self, settings: LossSettings, labels: LabelSet, batch_dice: bool) -> None:
        super().__init__()
        self.settings = settings
        self.batch_dice = batch_dice
        self.ignores = labels.ignore_value is not None

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar."""
        logits, target = logits.float(), target.float()
        probabilities = logits.sigmoid()
        if self.ignores:
            valid = 1 - target[:, -1:]
            target = target[:, :-1] * valid
            probabilities = probabilities * valid
            entropies = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
            cross_entropy = (entropies * valid).sum() / mean_over_ranks(valid.sum(), at_least=SMALLEST_DENOMINATOR)
        else:
            entropies = F.binary_cross_entropy_with_logits(logits, target, reduction="sum")
            cross_entropy = entropies / mean_over_ranks(entropies.new_tensor(float(target.numel())), at_least=1)
        overlap = _sum_over_space(probabilities * target)
        dice = mean_dice(
            overlap, _sum_over_space(probabilities), _sum_over_space(target), self.settings.smooth, self.batch_dice
        )
        return self.settings.ce_weight * cross_entropy - self.settings.dice_weight * dice


class DeepSupervisionLoss(nn.Module):
    """The weighted mean of a loss over a network's outputs, each scored against the target at its own resolution."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, outputs: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar. `outputs`: one, or several, full resolution first."""
        if isinstance(outputs, Tensor):
            outputs = [outputs]
        sizes = [tuple(output.shape[2:]) for output in outputs]
        targets = deep_supervision_targets(target, sizes)
        terms = [w * self.loss(o, t) for w, o, t in zip(output_weights(sizes), outputs, targets, strict=True)]
        return torch.stack(terms).sum()


def build_loss(settings: LossSettings, labels: LabelSet, batch_dice: bool) -> nn.Module:
    """Build the loss for `labels`: softmax for exclusive labels, sigmoid for regions.

    `batch_dice` is the plan's; `settings.batch_dice` overrules it.
    """
    if settings.batch_dice is not None:
        batch_dice = settings.batch_dice
    if settings.name not in LOSSES:
        raise UsageError(f"loss.name must be one of {sorted(LOSSES)}, got {settings.name!r}")
    exclusive, overlapping = LOSSES[settings.name]
    return (overlapping if labels.has_regions else exclusive)(settings, labels, batch_dice)


LOSSES = {"dice_ce": (DiceCrossEntropy, DiceBinaryCrossEntropy)}


def output_weights(sizes: Sequence[Shape]) -> tuple[float, ...]:
    """Return the weight of each output from its spatial size: halved at each coarser resolution, their sum 1.

    Outputs of one size weigh the same, as those of UNet++ do. nnU-Net gives its coarsest output no weight; our U-Nets
    leave it out.
    """
    resolutions = sorted(set(sizes), key=math.prod, reverse=True)
    raw = [0.5 ** resolutions.index(size) for size in sizes]
    return tuple(weight / sum(raw) for weight in raw)


def deep_supervision_targets(target: Tensor, sizes: Sequence[Shape]) -> list[Tensor]:
    """Return `target` `(B, C, *space)` at each of the `sizes`, which divide its own, as views.

    Nearest voxel: voxel i of a reduction by s looks at (i + 1/2) s, rounded down.
    """
    targets = []
    for size in sizes:
        factors = [full // reduced for full, reduced in zip(target.shape[2:], size, strict=True)]
        window = tuple(slice(factor // 2, None, factor) for factor in factors)
        targets.append(target[(slice(None), slice(None), *window)])
    return targets


def mean_dice(overlap: Tensor, predicted: Tensor, truth: Tensor, smooth: float, batch_dice: bool) -> Tensor:
    """Return the mean soft Dice from sums over space, each `(B, C)`.

    With `batch_dice` the sums go over the batch first, on all ranks of a distributed run, so that its loss and gradient
    are those of one large batch. A class that is neither predicted nor there scores 1.
    """
    sums = torch.stack((overlap, predicted, truth))
    if batch_dice:
        sums = sums.sum(1)
        if _several_ranks():
            sums = _SumOverRanks.apply(sums)
    overlap, predicted, truth = sums.unbind()
    dice = (2 * overlap + smooth) / (predicted + truth + smooth).clamp_min(SMALLEST_DENOMINATOR)
    if batch_dice or not _several_ranks():
        return dice.mean()
    return dice.sum() / mean_over_ranks(dice.new_tensor(float(dice.numel())), at_least=1)


def _sum_over_space(values: Tensor) -> Tensor:
    """Sum `(B, C, *space)` over space."""
    return values.flatten(2).sum(2)


def mean_over_ranks(count: Tensor, at_least: float) -> Tensor:
    """Return what a rank divides its sum by, so that the mean of the ranks' losses is that over all their counts.

    `count`, a scalar, is this rank's; the counts of all ranks together are taken to be `at_least` so many.
    """
    if not _several_ranks():
        return count.clamp_min(at_least)
    total = count.detach().clone()
    dist.all_reduce(total)
    return total.clamp_min(at_least) / dist.get_world_size()


def _several_ranks() -> bool:
    return dist.is_available() and dist.is_initialized()


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
