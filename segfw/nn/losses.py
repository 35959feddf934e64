"""The training loss: a distribution term, an overlap term and further terms, at every resolution of the decoder.

Overlaps enter negatively, so that a perfect segmentation scores minus the sum of their weights: -1 by default.

On several ranks every mean is over the samples and voxels of all of them, so that gradients averaged over the ranks are
those of one large batch, also where ranks have unequal shares of it. nnU-Net weighs each rank's cross-entropy alike.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segfw.core.labels import LabelSet
from segfw.core.settings.class_weights import weight_per_class
from segfw.core.settings.training import LossSettings
from segfw.core.types import Shape
from segfw.nn.loss_terms import DISTRIBUTIONS, mean_cldice, mean_component_dice, mean_overlap
from segfw.nn.own_loss import build_own_loss
from segfw.nn.voxel_scores import sigmoid_scores, softmax_scores


class SegmentationLoss(nn.Module):
    """The weighted sum of the terms that `settings` choose, for exclusive labels or for regions.

    Labels: softmax, `target` `(B, 1, *space)` integer, overlaps without background. Regions: sigmoid, `target`
    `(B, R, *space)` of 0 and 1; with an ignore label one more channel, 1 where voxels count nowhere.
    """

    def __init__(self, settings: LossSettings, labels: LabelSet, batch_dice: bool) -> None:
        super().__init__()
        self.settings = settings
        self.batch_dice = batch_dice
        self.ignores = labels.ignore_value is not None
        self.class_weights: Tensor | None
        self.score = sigmoid_scores if labels.has_regions else softmax_scores
        weights = weight_per_class(settings.class_weights, labels)
        self.register_buffer("class_weights", None if weights is None else torch.tensor(weights), persistent=False)

    def forward(self, logits: Tensor, target: Tensor, fine_share: float = 1.0) -> Tensor:
        """Return the loss of a batch, a scalar. `fine_share`: factor of the terms for thin and for small structures."""
        settings = self.settings
        scores = self.score(logits, target, self.ignores, self.class_weights, settings.label_smoothing)
        terms = []
        if settings.ce_weight:
            terms.append(settings.ce_weight * DISTRIBUTIONS[settings.distribution](scores, settings))
        if settings.dice_weight:
            terms.append(-settings.dice_weight * mean_overlap(scores, settings, self.batch_dice))
        if settings.cldice_weight and fine_share:
            terms.append(-fine_share * settings.cldice_weight * mean_cldice(scores, settings, self.batch_dice))
        if settings.component_weight and fine_share:
            terms.append(-fine_share * settings.component_weight * mean_component_dice(scores, settings))
        return torch.stack(terms).sum() if terms else scores.entropies.sum() * 0


class DeepSupervisionLoss(nn.Module):
    """The weighted mean of a loss over a network's outputs, each scored against the target at its own resolution.

    clDice and the components' Dice are means over the outputs of full resolution alone, since thin and small structures
    break up or vanish when every second voxel is left out.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, outputs: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar. `outputs`: one, or several, full resolution first."""
        if isinstance(outputs, Tensor):
            outputs = [outputs]
        sizes = [tuple(output.shape[2:]) for output in outputs]
        weights, targets = output_weights(sizes), deep_supervision_targets(target, sizes)
        full = 1 / sum(weight for weight, size in zip(weights, sizes, strict=True) if size == sizes[0])
        terms = [
            weight * self.loss(output, reduced, full if size == sizes[0] else 0.0)
            for weight, output, reduced, size in zip(weights, outputs, targets, sizes, strict=True)
        ]
        return torch.stack(terms).sum()


def build_loss(settings: LossSettings, labels: LabelSet, batch_dice: bool) -> nn.Module:
    """Build the loss for `labels`: softmax for exclusive labels, sigmoid for regions; or the user's own.

    `batch_dice` is the plan's; `settings.batch_dice` overrules it.
    """
    if settings.batch_dice is not None:
        batch_dice = settings.batch_dice
    if settings.target is not None:
        return build_own_loss(settings, labels, batch_dice)
    return SegmentationLoss(settings, labels, batch_dice)


def output_weights(sizes: Sequence[Shape]) -> tuple[float, ...]:
    """Return the weight of each output, full resolution first: each half of the one before, their sum 1.

    Outputs that are all of one size weigh the same, as those of UNet++ do. nnU-Net gives its coarsest output no weight;
    our U-Nets leave it out.
    """
    raw = [1.0 if len(set(sizes)) == 1 else 0.5**index for index in range(len(sizes))]
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
