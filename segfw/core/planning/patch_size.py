"""The largest patch that a network fits into the memory with, the network on it, and the batch.

Rules of Isensee et al. 2021 (Methods, "Inferred parameters": patch and batch size; supplement, initialization and
adaptation of the patch), as nnU-Net v2 plans them.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from segfw.core.planning.memory import memory_estimate
from segfw.core.planning.planners import REFERENCE_BATCH_SIZE, Givens, Planner
from segfw.core.planning.topology import Topology, make_topology
from segfw.core.types import Shape, Spacing

BASE_FEATURES = 32
MAX_FEATURES = {2: 512, 3: 320}
INITIAL_PATCH_EDGE = {2: 2048, 3: 256}
MIN_BATCH_SIZE = 2


def initial_patch(spacing: Spacing, median: tuple[float, ...]) -> tuple[float, ...]:
    """Start from a cube (square) in millimetres that holds 256^3 (2048^2) voxels, cut to the median image.

    The result may be fractional where the median is; it is at least one voxel.
    """
    return tuple(max(min(edge, m), 1) for edge, m in zip(uncut_patch(spacing), median, strict=True))


def uncut_patch(spacing: Spacing) -> Shape:
    """Return the edges, in voxels, of a cube (square) in millimetres that holds 256^3 (2048^2) voxels."""
    ndim = len(spacing)
    aspect = [1 / s for s in spacing]
    scale = (float(INITIAL_PATCH_EDGE[ndim]) ** ndim / math.prod(aspect)) ** (1 / ndim)
    return tuple(round(a * scale) for a in aspect)


def shrink_to_memory(givens: Givens, spacing: Spacing, median: tuple[float, ...]) -> Iterator[Topology]:
    """Yield the network on the initial patch and on each smaller one; the last is the first that fits the memory."""
    start = make_topology(spacing, initial_patch(spacing, median))
    return shrink(start, spacing, median, lambda topology: exceeds_memory(givens, topology))


def shrink(
    topology: Topology, spacing: Spacing, median: tuple[float, ...], is_too_large: Callable[[Topology], bool]
) -> Iterator[Topology]:
    """Yield `topology` and the network on each smaller patch; the last is the first that is not too large.

    Rule: the axis that covers most of the median image gives way (of equals, the last). It is cut by the divisor that
    a cut by its present divisor would have, so that no valid size is skipped. Where a patch comes back, or no axis
    can give way, the smallest batch simply exceeds the target.
    """
    seen: set[Shape] = set()
    while topology.patch_size not in seen:
        yield topology
        seen.add(topology.patch_size)
        patch, divisor = topology.patch_size, topology.divisor
        axes = [axis for axis in range(len(patch)) if patch[axis] > divisor[axis]]
        if not axes or not is_too_large(topology):
            return
        axis = max(axes, key=lambda i: (patch[i] / median[i], i))
        topology = make_topology(spacing, _cut(patch, axis, divisor[axis]))
        if topology.divisor[axis] != divisor[axis]:
            topology = make_topology(spacing, _cut(patch, axis, topology.divisor[axis]))


def _cut(patch: Shape, axis: int, amount: int) -> Shape:
    """Shorten one edge of a patch."""
    return tuple(edge - amount if i == axis else edge for i, edge in enumerate(patch))


def exceeds_memory(givens: Givens, topology: Topology) -> bool:
    """Say whether the planner's network on `topology` needs more than the memory target."""
    return exceeds(givens, network_memory(givens, topology), topology)


def exceeds(givens: Givens, estimate: float, topology: Topology) -> bool:
    """Say whether a network of this estimate per patch needs more than the memory target with the deciding batch."""
    ndim = len(topology.patch_size)
    batch = deciding_batch(givens.planner, ndim)
    if batch != REFERENCE_BATCH_SIZE[ndim]:
        estimate = estimate / REFERENCE_BATCH_SIZE[ndim] * batch
    return estimate > givens.reference(ndim)


def deciding_batch(planner: Planner, ndim: int) -> int:
    """Return the batch that a patch must fit the memory with.

    Rule: the plain planner asks for the smallest batch, which lets 2D patches grow large; the ResEnc planners for the
    reference batch.
    """
    return MIN_BATCH_SIZE if planner.architecture == "unet" else REFERENCE_BATCH_SIZE[ndim]


def network_memory(givens: Givens, topology: Topology) -> int:
    """Count the feature-map values of the network that would be built on `topology`."""
    stages = len(topology.strides)
    return memory_estimate(
        topology.patch_size,
        topology.strides,
        stage_features(stages, len(topology.patch_size)),
        encoder_counts(givens.planner, stages),
        decoder_counts(givens.planner, stages),
        givens.num_outputs,
        givens.planner.architecture,
    )


def stage_features(stages: int, ndim: int) -> tuple[int, ...]:
    """Double the channels at each stage, from 32 up to 512 (2D) or 320 (3D)."""
    return tuple(min(MAX_FEATURES[ndim], BASE_FEATURES * 2**stage) for stage in range(stages))


def encoder_counts(planner: Planner, stages: int) -> tuple[int, ...]:
    """Give each stage its convolutions or blocks; beyond the planner's list its last entry repeats."""
    counts = planner.encoder_counts
    return tuple(counts[min(stage, len(counts) - 1)] for stage in range(stages))


def decoder_counts(planner: Planner, stages: int) -> tuple[int, ...]:
    """Give each stage but the deepest its convolutions on the way up."""
    return (planner.decoder_count,) * (stages - 1)


@dataclass(frozen=True)
class BatchChoice:
    """How many patches the memory has room for, and how many the dataset allows; both before rounding."""

    fitting: float
    cap: float

    @property
    def size(self) -> int:
        """The batch size. Rule: the smaller of both, at least 2."""
        return max(min(round(self.fitting), round(self.cap)), MIN_BATCH_SIZE)

    @property
    def fitting_size(self) -> int:
        """The batch size that the memory alone allows, at least 2."""
        return max(round(self.fitting), MIN_BATCH_SIZE)


def choose_batch(givens: Givens, estimate: int, patch: Shape, voxels: float) -> BatchChoice:
    """Weigh the memory against the dataset. `estimate`: of the network, per patch; `voxels`: of the whole dataset.

    Rule: as many patches as fit the memory, but at most a share of the dataset's voxels (5 % for the plain planner).
    """
    ndim = len(patch)
    return BatchChoice(
        fitting=givens.reference(ndim) / estimate * REFERENCE_BATCH_SIZE[ndim],
        cap=voxels * givens.planner.max_dataset_covered / math.prod(patch),
    )
