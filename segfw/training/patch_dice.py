"""The on-line estimate of the Dice score: voxels counted over an epoch's validation patches, then one division a label.

It guides the choice of `best`; whole cases are scored after the last epoch.
"""

import math

import torch
from torch import Tensor

from segfw.core.labels import LabelSet
from segfw.nn.ranks import sum_over_ranks

MOMENTUM = 0.9


class PatchDice:
    """Counts of true positives, false positives and false negatives of each foreground entry, as integers."""

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self.names = tuple(name for name, _ in labels.foreground)
        self.counts: Tensor | None = None

    def reset(self) -> None:
        """Forget what was counted."""
        self.counts = None

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count one batch at full resolution; ignored voxels count nowhere. Does not wait for the device."""
        counts = count_regions(logits, target) if self.labels.has_regions else count_labels(logits, target)
        self.counts = counts if self.counts is None else self.counts + counts

    def compute(self) -> dict[str, float]:
        """Return 2 TP / (2 TP + FP + FN) per name, of all ranks; NaN where an entry occurred nowhere.

        Every rank calls it.
        """
        if self.counts is None:
            return dict.fromkeys(self.names, math.nan)
        dice = {}
        for name, (tp, fp, fn) in zip(self.names, sum_over_ranks(self.counts).T.tolist(), strict=True):
            dice[name] = 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else math.nan
        return dice


def count_labels(logits: Tensor, target: Tensor) -> Tensor:
    """Return int64 (3, labels without background) of TP, FP, FN. `logits` (B, C, ...), `target` (B, 1, ...) integer.

    Target values from C on are ignored.
    """
    heads = logits.shape[1]
    reference, prediction = target[:, 0].long().flatten(), logits.argmax(1).flatten()
    joint = torch.zeros(heads * heads, dtype=torch.int64, device=logits.device)
    counted = (reference < heads).long()
    joint.scatter_add_(0, reference.clamp(0, heads - 1) * heads + prediction, counted)
    joint = joint.view(heads, heads)
    tp = joint.diagonal()
    return torch.stack((tp, joint.sum(0) - tp, joint.sum(1) - tp))[:, 1:]


def count_regions(logits: Tensor, target: Tensor) -> Tensor:
    """Return int64 (3, regions) of TP, FP, FN. `target` (B, R, ...) bool, or R + 1 with ignored voxels in the last."""
    regions = logits.shape[1]
    predicted, reference = logits > 0, target[:, :regions].bool()
    valid = ~target[:, regions:].bool() if target.shape[1] > regions else torch.ones_like(reference[:, :1])
    predicted, reference = predicted & valid, reference & valid
    counts = (predicted & reference, predicted & ~reference, ~predicted & reference & valid)
    return torch.stack([count.transpose(0, 1).flatten(1).sum(1) for count in counts])


def mean_dice(dice: dict[str, float]) -> float:
    """Average over the entries that have a value; NaN if none has."""
    defined = [value for value in dice.values() if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def moving_average(average: float | None, value: float) -> float | None:
    """Return 0.9 of the average and 0.1 of the value; the first value starts it, an undefined one leaves it alone."""
    if math.isnan(value):
        return average
    return value if average is None else MOMENTUM * average + (1 - MOMENTUM) * value
