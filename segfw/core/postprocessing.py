"""Stand-in until the real one is merged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from segfw.core.labels import LabelSet
from segfw.core.metrics import CaseMetrics, summarize
from segfw.core.types import IntArray, Spacing


@dataclass(frozen=True)
class Step:
    """An operation on the union of `values`."""

    operation: str
    values: tuple[int, ...]


@dataclass(frozen=True)
class Determined:
    """Steps."""

    steps: tuple[Step, ...]


def apply_steps(segmentation: IntArray, steps: Sequence[Step], spacing: Spacing) -> IntArray:
    """Apply the steps."""
    result = segmentation.copy()
    for step in steps:
        mask = np.isin(result, step.values)
        components, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
        if count > 1:
            sizes = np.bincount(components.ravel())[1:]
            kept = np.isin(components, 1 + np.flatnonzero(sizes == sizes.max()))
            result[mask & ~kept] = 0
    return result


def determine(labels: LabelSet, score: Callable[[tuple[Step, ...]], Sequence[CaseMetrics]]) -> Determined:
    """Keep the largest component of all foreground if that helps."""
    step = Step("largest_component", tuple(sorted({v for _, key in labels.foreground for v in key})))
    before, after = (summarize(score(steps)).foreground_mean["dice"] for steps in ((), (step,)))
    return Determined((step,) if after > before else ())
