"""The terms of the training loss, each a function in a table: a new one is a function and its entry.

Distribution terms turn `VoxelScores` into a mean of at least 0. Overlap terms turn sums over space into an index per
class that is 1 where prediction and truth agree.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from segfw.core.settings.training import LossSettings
from segfw.nn.components import label_components
from segfw.nn.ranks import SMALLEST_DENOMINATOR, mean_over_ranks, sum_over_ranks
from segfw.nn.skeleton import soft_skeleton
from segfw.nn.voxel_scores import VoxelScores, sum_over_space


def cross_entropy(scores: VoxelScores, settings: LossSettings) -> Tensor:
    """Return the mean cross-entropy, weighted by class if wanted; 0 if every voxel is ignored."""
    return _weighted_mean(scores.entropies, scores)


def focal(scores: VoxelScores, settings: LossSettings) -> Tensor:
    """Return the mean of (1 - p)^gamma times the cross-entropy -log p, softmax or sigmoid (Lin et al. 2017)."""
    missing = (-torch.expm1(-scores.entropies)).clamp_min(SMALLEST_DENOMINATOR)  # a root has no slope at 0
    return _weighted_mean(missing.pow(settings.focal_gamma) * scores.entropies, scores)


def topk(scores: VoxelScores, settings: LossSettings) -> Tensor:
    """Return the mean cross-entropy of the hardest `topk_share` of the batch's voxels that are not ignored.

    Class weights scale the entropies before they are compared, and the mean is over voxels. In a distributed training
    every rank takes the hardest of its own batch, so that this one term is not that of the large batch.
    """
    entropies = scores.entropies if scores.weights is None else scores.entropies * scores.weights
    entropies = entropies.flatten()
    most = max(1, int(settings.topk_share * entropies.numel()))
    hardest = entropies.topk(most, sorted=scores.weights is not None).values
    if scores.weights is None:
        return mean_over_ranks(hardest.sum(), most)
    valid = (scores.weights > 0).expand_as(scores.entropies).sum()
    wanted = (settings.topk_share * valid).floor().clamp_min(1)
    first = torch.arange(most, device=hardest.device) < wanted
    return mean_over_ranks((hardest * first).sum(), wanted * (valid > 0))


def dice(overlap: Tensor, predicted: Tensor, truth: Tensor, settings: LossSettings) -> Tensor:
    """Return the soft Dice. A class that is neither predicted nor there has 1."""
    smooth = settings.smooth
    return (2 * overlap + smooth) / (predicted + truth + smooth).clamp_min(SMALLEST_DENOMINATOR)


def tversky(overlap: Tensor, predicted: Tensor, truth: Tensor, settings: LossSettings) -> Tensor:
    """Return 1 - (1 - index)^exponent of the Tversky index TP / (TP + alpha FP + beta FN).

    Salehi et al. 2017; exponents other than 1 are the focal Tversky loss of Abraham and Khan 2019. Alpha = beta = 1/2
    is the Dice, its smoothing included.
    """
    smooth = settings.smooth / 2
    errors = settings.tversky_alpha * (predicted - overlap) + settings.tversky_beta * (truth - overlap)
    index = (overlap + smooth) / (overlap + errors + smooth).clamp_min(SMALLEST_DENOMINATOR)
    if settings.tversky_exponent == 1:
        return index
    return 1 - (1 - index).clamp_min(SMALLEST_DENOMINATOR).pow(settings.tversky_exponent)


DISTRIBUTIONS: dict[str, Callable[[VoxelScores, LossSettings], Tensor]] = {
    "ce": cross_entropy,
    "focal": focal,
    "topk": topk,
}
OVERLAPS: dict[str, Callable[[Tensor, Tensor, Tensor, LossSettings], Tensor]] = {"dice": dice, "tversky": tversky}


def mean_overlap(scores: VoxelScores, settings: LossSettings, batch_dice: bool) -> Tensor:
    """Return the mean index of `settings.overlap` over foreground classes, and over samples without `batch_dice`."""
    sums = torch.stack(scores.sums)
    overlap, predicted, truth = _pooled(sums, batch_dice).unbind()
    index = OVERLAPS[settings.overlap](overlap, predicted, truth, settings)
    return _mean_index(index, batch_dice)


def mean_cldice(scores: VoxelScores, settings: LossSettings, batch_dice: bool) -> Tensor:
    """Return the mean clDice over foreground classes: how far each skeleton lies within the other mask (Shit 2021).

    The harmonic mean of the shares of the predicted skeleton within the truth and of the true skeleton within the
    prediction; both skeletons are soft.
    """
    probabilities, truth = scores.foreground
    predicted_skeleton = soft_skeleton(probabilities, settings.cldice_iterations)
    with torch.no_grad():
        true_skeleton = soft_skeleton(truth, settings.cldice_iterations)
    products = (predicted_skeleton * truth, predicted_skeleton, true_skeleton * probabilities, true_skeleton)
    sums = torch.stack([sum_over_space(product) for product in products])
    inside, predicted, covered, true = _pooled(sums, batch_dice).unbind()
    precision = (inside + settings.smooth) / (predicted + settings.smooth).clamp_min(SMALLEST_DENOMINATOR)
    sensitivity = (covered + settings.smooth) / (true + settings.smooth).clamp_min(SMALLEST_DENOMINATOR)
    index = 2 * precision * sensitivity / (precision + sensitivity).clamp_min(SMALLEST_DENOMINATOR)
    return _mean_index(index, batch_dice)


def mean_component_dice(scores: VoxelScores, settings: LossSettings) -> Tensor:
    """Return the mean Dice over connected components of the truth, each of which counts the same; 0 without any.

    Blob loss (Kofler et al. 2022): a component is scored on its sample with the other components of its class left
    out, so that false positives are held against each. Voxels of a component touch by face, edge
    or corner. Components are found on the host: on a GPU every step waits until the target is there and labelled.
    """
    overlap, predicted, _ = scores.sums
    components = label_components(scores.planes.cpu().numpy())
    device = overlap.device
    members = torch.from_numpy(components.members).to(device)
    classes = torch.from_numpy(components.classes).to(device)
    sizes = torch.from_numpy(components.sizes).to(device, overlap.dtype)
    probabilities, truth = scores.foreground
    within = probabilities * truth
    if scores.planes.shape[1] == 1:
        within = within.sum(1, keepdim=True)
    found = within.new_zeros(len(sizes) + 1).index_add(0, members.flatten(), within.flatten())[1:]
    samples = torch.from_numpy(components.samples).to(device)
    false_positives = (predicted - overlap)[samples, classes]
    index = dice(found, found + false_positives, sizes, settings)
    return mean_over_ranks(index.sum(), len(sizes))


def _pooled(sums: Tensor, batch_dice: bool) -> Tensor:
    """Sum `(N, B, K)` over the batch and all ranks with `batch_dice`, so that loss and gradient are one batch's."""
    return sum_over_ranks(sums.sum(1)) if batch_dice else sums


def _mean_index(index: Tensor, batch_dice: bool) -> Tensor:
    return index.mean() if batch_dice else mean_over_ranks(index.sum(), math.prod(index.shape))


def _weighted_mean(entropies: Tensor, scores: VoxelScores) -> Tensor:
    weighted = entropies if scores.weights is None else entropies * scores.weights
    return mean_over_ranks(weighted.sum(), scores.count)
