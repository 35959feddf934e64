"""How many lesions were found: connected components of the reference and of the prediction, matched by overlap.

A lesion is a component whose voxels touch by face, edge or corner. One of the reference is found (TP) when at least one
of its voxels is predicted, else missed (FN); a predicted one that shares no voxel with the reference is a false
positive (FP). F1 = 2 TP / (2 TP + FP + FN). It is the rule of the ISLES 2022 challenge (Hernandez Petzsche et al.
2022). Others ask for more: panoptica and Metrics Reloaded (Maier-Hein et al. 2024) match one to one above an
IoU (0.5 as a rule), BraTS 2023 grows the reference first. Lenient as it is, a prediction that covers everything
finds every lesion: read it beside Dice.
"""

import math
from dataclasses import dataclass

import cc3d
import numpy as np

from segfw.core.types import BoolArray


@dataclass(frozen=True)
class LesionCounts:
    """Lesions found, predicted where there is none, and missed."""

    tp: int
    fp: int
    fn: int

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); NaN where there is no lesion in either."""
        total = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / total if total else math.nan


def count_lesions(reference: BoolArray, prediction: BoolArray) -> LesionCounts:
    """Match the components of two masks of one shape, which may be cut to a box that holds both."""
    found, lesions = _touched(reference, prediction)
    touching, predicted = _touched(prediction, reference)
    return LesionCounts(tp=found, fp=predicted - touching, fn=lesions - found)


def _touched(mask: BoolArray, other: BoolArray) -> tuple[int, int]:
    """Count the components of `mask` that share a voxel with `other`, and all of them."""
    mask, other = np.atleast_2d(mask), np.atleast_2d(other)
    components, number = cc3d.connected_components(
        np.ascontiguousarray(mask), connectivity=26 if mask.ndim == 3 else 8, return_N=True
    )
    return len(np.unique(components[mask & other])), int(number)
