"""Which case and which patch each sample of a batch shows. Rules: nnU-Net's data loader."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from segfw.core.errors import UsageError
from segfw.core.labels import LabelKey, LabelSet
from segfw.core.plan import Configuration
from segfw.core.settings.training import AugmentationSettings, SamplingSettings
from segfw.core.types import FloatArray, IntArray, Shape
from segfw.data.spatial import SpatialDraws, count_spatial, draw_spatial, loader_patch_size

PLACE_NUMBERS = 4
"""Random numbers of a sample before those of its transform: the case, and either a place or a key and its voxel."""


@dataclass(frozen=True)
class PatchSpec:
    """What patches are cut: `patch_size` as the network sees it (2 or 3 axes), `batch_size` over all ranks.

    `spatial`: settings of rotation, scaling and shift; None for patches shown as they are (validation).
    `class_weights`, `case_weights`: name -> how often a forced patch shows that class, a patch that case; else 1.
    """

    patch_size: Shape
    batch_size: int
    foreground_fraction: float = 0.33
    spatial: AugmentationSettings | None = None
    class_weights: Mapping[str, float] = field(default_factory=dict)
    case_weights: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def loader_size(self) -> Shape:
        """The extent that a patch may be drawn from, in the axes of `patch_size`."""
        return self.patch_size if self.spatial is None else loader_patch_size(self.patch_size, self.spatial)

    @cached_property
    def box_size(self) -> Shape:
        """`patch_size` in the three axes of the store: a slice is one voxel deep."""
        return (1,) * (3 - len(self.patch_size)) + self.patch_size

    @cached_property
    def loader_box(self) -> Shape:
        """`loader_size` in the three axes of the store."""
        return (1,) * (3 - len(self.patch_size)) + self.loader_size


def make_patch_spec(
    configuration: Configuration, sampling: SamplingSettings, spatial: AugmentationSettings | None
) -> PatchSpec:
    """Make the patches of a configuration; `spatial` is None for validation, which weighs cases and classes alike."""
    size, batch, fraction = configuration.patch_size, configuration.batch_size, sampling.foreground_fraction
    if spatial is None:
        return PatchSpec(size, batch, fraction)
    return PatchSpec(size, batch, fraction, spatial, sampling.class_weights or {}, sampling.case_weights or {})


@dataclass(frozen=True, eq=False)
class PatchDraws:
    """A batch as it was drawn.

    `starts` (B, 3): where each loader patch begins in the store's axes, shift included; `spatial`: None for a batch in
    which nothing is rotated, scaled or shifted.
    """

    cases: tuple[str, ...]
    starts: IntArray
    spatial: SpatialDraws | None

    @property
    def turned(self) -> IntArray:
        """The samples that are rotated or scaled, ascending."""
        return np.zeros(0, np.int64) if self.spatial is None else self.spatial.turned

    @property
    def plain(self) -> IntArray:
        """The samples that are not, ascending."""
        return np.delete(np.arange(len(self.cases)), self.turned)


def is_forced(position: int, batch_size: int, foreground_fraction: float) -> bool:
    """Whether the sample at `position` of a batch must show foreground: the last ones, as many as the share says."""
    return position >= round(batch_size * (1 - foreground_fraction))


def start_bounds(shapes: IntArray, box_size: Shape, loader_box: Shape) -> tuple[IntArray, IntArray]:
    """Return the first and the last voxel where a loader patch drawn anywhere may begin, each like `shapes` (B, 3)."""
    box, loader = np.array(box_size), np.array(loader_box)
    need = np.maximum(loader - box, loader - shapes)
    return -need // 2, shapes + need // 2 + need % 2 - loader


@dataclass(frozen=True, eq=False)
class Targets:
    """What a patch of one case may be centered on. `shares`: of each key, summed up from the first to the last, 1."""

    voxels: tuple[IntArray, ...]
    shares: FloatArray

    def pick(self, key: float, voxel: float) -> int:
        """Return the flat index of a voxel, from two numbers between 0 and 1."""
        voxels = self.voxels[int(np.searchsorted(self.shares, key, "right"))]
        return int(voxels[int(voxel * len(voxels))])


def find_targets(
    labels: LabelSet, locations: Mapping[LabelKey, IntArray], forced: bool, weights: Mapping[str, float]
) -> Targets | None:
    """Return what a patch may be centered on: the case's foreground if it is forced, else what is annotated.

    None means anywhere. What is annotated matters only with an ignore label; it also serves forced patches of a case
    without foreground. Keys count by their `weights`, however many voxels they have.
    """
    found: dict[LabelKey, float] = {}
    if forced:
        found = {key: weights.get(name, 1.0) for name, key in labels.foreground if weights.get(name, 1.0) > 0}
        found = {key: weight for key, weight in found.items() if len(locations.get(key, ()))}
    if not found and labels.ignore_value is not None and len(locations.get(labels.annotated_key, ())):
        found = {labels.annotated_key: 1.0}
    if not found:
        return None
    shares = np.cumsum(list(found.values()))
    return Targets(tuple(locations[key] for key in found), shares / shares[-1])


def check_weights(what: str, weights: Mapping[str, float], known: Sequence[str]) -> None:
    """Raise `UsageError` if all of `known` weigh nothing: there would be nothing to draw."""
    if known and all(weights.get(name, 1.0) == 0 for name in known):
        raise UsageError(f"{what} gives every one of {list(known)[:5]} the weight 0; at least one must be above")


def unknown_names(weights: Mapping[str, float], known: Sequence[str]) -> list[str]:
    """Return the names that are given a weight but not known."""
    return [name for name in weights if name not in set(known)]


def draw_patches(
    cases: Sequence[str],
    shapes: IntArray,
    numbers: FloatArray,
    spec: PatchSpec,
    targets: Callable[[int], Targets | None],
) -> PatchDraws:
    """Draw where the loader patches of a batch begin: around a voxel of the sample's targets, or else anywhere.

    `cases` and `shapes` (B, 3): of each sample; `numbers` (B, `count_numbers`); `targets(row)`: what sample `row` may
    be centered on. A patch around a voxel may stick out at the far end.
    """
    lowest, highest = start_bounds(shapes, spec.box_size, spec.loader_box)
    starts = lowest + (numbers[:, 1:PLACE_NUMBERS] * (highest - lowest + 1)).astype(np.int64)
    half = np.array(spec.loader_box) // 2
    for row in range(len(cases)):
        target = targets(row)
        if target is not None:
            voxel = np.unravel_index(target.pick(numbers[row, 1], numbers[row, 2]), tuple(shapes[row]))
            starts[row] = np.maximum(lowest[row], np.array(voxel) - half)
    if spec.spatial is None:
        return PatchDraws(tuple(cases), starts, None)
    spatial = draw_spatial(numbers[:, PLACE_NUMBERS:], spec.patch_size, spec.spatial)
    starts[:, 3 - len(spec.patch_size) :] += spatial.shifts
    return PatchDraws(tuple(cases), starts, spatial)


def count_numbers(spec: PatchSpec) -> int:
    """Return how many random numbers a sample takes, whatever comes out."""
    return PLACE_NUMBERS + (0 if spec.spatial is None else count_spatial(len(spec.patch_size)))
