"""What is done to a segmentation after the network: keep the largest component, fill cavities, remove small components.

Steps are declarative, so that a packaged model can hold them. Keeping the largest component is nnU-Net's (Isensee et
al. 2021, empirical postprocessing); the other two go beyond it. How steps are chosen stands in
`postprocessing_choice`. They change label maps only, never probabilities or maps of uncertainty.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segfw.core.errors import DataError, UsageError
from segfw.core.labels import LabelKey, LabelSet
from segfw.core.scoring.components import clear, compact, fill_cavities, find_components
from segfw.core.types import BoolArray, FloatArray, IntArray, Spacing

Operation = Literal["keep_largest", "fill_holes", "remove_small"]


@dataclass(frozen=True)
class Step:
    """One operation on the mask of all voxels whose value is among `values`: a label's, a region's or all.

    keep_largest: of the mask's components (26 neighbours; 8 in one slice) those of the largest size stay, all of them
    in a tie; the others become background, whatever of `values` they hold.
    fill_holes: background that only the mask encloses (6 neighbours; 4 in one slice) gets the value `fill`; a cavity
    that touches another label or the border of the image stays.
    remove_small: components below `minimum_mm3` become background, the last one too. The unit is physical, because
    cases differ in spacing and the segmentation is on each image's own grid; in 2D the reader's slice spacing counts.

    Raises `UsageError` for values, or entries besides them, that the operation cannot have.
    """

    operation: Operation
    values: LabelKey
    fill: int | None = None
    minimum_mm3: float | None = None

    def __post_init__(self) -> None:
        if not self.values or min(self.values) < 1 or len(set(self.values)) < len(self.values):
            raise UsageError(f"values must be label values above 0, each once, got {list(self.values)}")
        if (self.fill is not None) != (self.operation == "fill_holes"):
            raise UsageError(f"fill belongs to fill_holes, which needs it; got {self.fill} for {self.operation}")
        if self.fill is not None and self.fill not in self.values:
            raise UsageError(f"fill must be one of the values {list(self.values)}, got {self.fill}")
        if (self.minimum_mm3 is not None) != (self.operation == "remove_small"):
            raise UsageError(
                f"minimum_mm3 belongs to remove_small, which needs it; got {self.minimum_mm3} for {self.operation}"
            )
        if self.minimum_mm3 is not None and not 0 < self.minimum_mm3 < math.inf:
            raise UsageError(f"minimum_mm3 must be a volume above 0, got {self.minimum_mm3}")


def apply_steps(segmentation: IntArray, steps: Sequence[Step], spacing: Spacing) -> IntArray:
    """Return a segmentation `(Z, Y, X)` after the steps, in order, as a new array of the same type.

    `spacing` in millimetres, by axis. Neighbouring steps of one kind on disjoint values are done in one pass, which
    changes nothing but the time. Raises `DataError` for other shapes, values or types than a segmentation has.
    """
    if segmentation.ndim != 3 or segmentation.dtype.kind not in "iu":
        raise DataError(
            f"a segmentation holds integers (Z, Y, X), got {segmentation.dtype} of shape {segmentation.shape}"
        )
    changed = compact(segmentation)
    highest = min(np.iinfo(changed.dtype).max, np.iinfo(segmentation.dtype).max)
    for joint in _passes(steps):
        groups, fills = [step.values for step in joint], [step.fill for step in joint if step.fill is not None]
        if fills and max(fills) > highest:
            raise DataError(f"a segmentation of type {segmentation.dtype} cannot hold the label {max(fills)}")
        if fills:
            fill_cavities(changed, groups, fills)
        elif (found := find_components(changed, groups)) is not None:
            clear(changed, found, _removed(joint, found.sizes, found.owners, found.largest(), spacing))
    return changed.astype(segmentation.dtype, copy=False)


def secondary_volumes(segmentation: IntArray, labels: LabelSet, spacing: Spacing) -> dict[str, FloatArray]:
    """Return the volumes in mm³ of each label's or region's components but the largest, by name, for `determine`.

    None of a region that holds the background, of which nothing is removed.
    """
    volumes: dict[str, FloatArray] = {name: np.zeros(0) for name, _ in labels.foreground}
    label_map, voxel = compact(segmentation), math.prod(spacing)
    for names, keys in _disjoint(labels.removable):
        found = find_components(label_map, keys)
        if found is None:
            continue
        for number, name in enumerate(names, 1):
            sizes = np.sort(found.sizes[found.owners == number])
            volumes[name] = sizes[:-1] * voxel
    return volumes


def step_in_words(step: Step, labels: LabelSet) -> str:
    """Say for people what a step does, with the names of the labels."""
    what = name_of(step.values, labels)
    if step.operation == "keep_largest":
        return f"of {what} only the largest connected component is kept"
    if step.operation == "fill_holes":
        return f"cavities enclosed by {what} alone are filled with it"
    return f"connected components of {what} below {step.minimum_mm3:g} mm³ are removed"


def name_of(values: LabelKey, labels: LabelSet) -> str:
    """Return the name of a label or region, "the foreground" for all, or the names of the labels of a union."""
    names = {frozenset(key): name for name, key in labels.foreground}
    if frozenset(values) in names:
        return names[frozenset(values)]
    if set(values) == set(labels.foreground_values):
        return "the foreground"
    return " and ".join(names.get(frozenset({value}), str(value)) for value in sorted(values))


def check_steps(steps: Sequence[Step], labels: LabelSet) -> None:
    """Raise `UsageError` for a step on values that the labels lack."""
    for index, step in enumerate(steps):
        unknown = sorted(set(step.values) - set(labels.foreground_values))
        if unknown:
            raise UsageError(
                f"postprocessing[{index}].values: {unknown} are no label values; there are "
                f"{list(labels.foreground_values)}"
            )


def _passes(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Group neighbouring steps that remove components, or that fill cavities, as long as their values are disjoint."""
    joint: list[Step] = []
    for step in steps:
        taken = {value for other in joint for value in other.values}
        alike = all((other.fill is None) == (step.fill is None) for other in joint)
        if joint and not (alike and taken.isdisjoint(step.values)):
            yield joint
            joint = []
        joint.append(step)
    if joint:
        yield joint


def _removed(
    steps: Sequence[Step], sizes: NDArray[np.int64], owners: NDArray[np.int64], largest: BoolArray, spacing: Spacing
) -> BoolArray:
    """Return which components their group's step removes."""
    minimum = np.array([0.0, *(step.minimum_mm3 or 0.0 for step in steps)])
    keeps_largest = np.array([False, *(step.operation == "keep_largest" for step in steps)])
    return np.where(keeps_largest[owners], ~largest, sizes * math.prod(spacing) < minimum[owners])


def _disjoint(foreground: Sequence[tuple[str, LabelKey]]) -> Iterator[tuple[list[str], list[LabelKey]]]:
    """Share entries out to passes in which none overlap: all labels in one, each region in one of its own at worst."""
    waiting: Mapping[str, LabelKey] = dict(foreground)
    while waiting:
        chosen: dict[str, LabelKey] = {}
        for name, key in waiting.items():
            if set(key).isdisjoint(value for other in chosen.values() for value in other):
                chosen[name] = key
        yield list(chosen), list(chosen.values())
        waiting = {name: key for name, key in waiting.items() if name not in chosen}
