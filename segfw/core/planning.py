"""From fingerprint to plan: which networks are trained, on what grid, patch and batch.

Each function is one rule of nnU-Net (Isensee et al. 2021, Methods, "Inferred parameters" and supplement), as its
version 2 plans. Everything is arithmetic on the fingerprint, so a plan takes milliseconds and needs no GPU.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from segfw.core.conversion import nearest
from segfw.core.dataset import Dataset
from segfw.core.errors import DataError, UsageError
from segfw.core.memory import memory_estimate
from segfw.core.modality import channel_schemes, windowed
from segfw.core.plan import Configuration, Fingerprint, IntensityStatistics, Plan
from segfw.core.planners import PLANNERS, REFERENCE_BATCH_SIZE, Givens, Planner
from segfw.core.spacing import axis_order, given_spacing, median_resampled_shape
from segfw.core.spacing import target_spacing as spacing_rule
from segfw.core.topology import Topology, make_topology
from segfw.core.types import Shape, Spacing

BASE_FEATURES = 32
MAX_FEATURES = {2: 512, 3: 320}
INITIAL_PATCH_VOXELS = {2: 2048.0**2, 3: 256.0**3}
MIN_BATCH_SIZE = 2
MASK_NORMALIZATION_BELOW = 0.75
LOWRES_BELOW = 0.25
LOWRES_STEP = 1.03
LOWRES_MIN_RATIO = 2.0


def make_plan(
    dataset: Dataset,
    fingerprint: Fingerprint,
    planner: str = "default",
    gpu_memory_gb: float | None = None,
    target_spacing: Sequence[float] | None = None,
    transpose: bool = True,
) -> Plan:
    """Plan every configuration that the rules offer for a dataset.

    `gpu_memory_gb`: None takes the planner's own; `target_spacing`: millimetres, (Z, Y, X) of the images, None
    follows the spacing rule; `transpose=False` keeps the order of axes. Raises `UsageError` for impossible options
    (a CT window without a CT channel too) and `DataError` for a fingerprint that does not fit the dataset.
    """
    givens = _check(dataset, fingerprint, planner, gpu_memory_gb)
    target = spacing_rule(fingerprint) if target_spacing is None else given_spacing(target_spacing)
    forward, backward = axis_order(target, transpose)
    median = _permute(median_resampled_shape(fingerprint, target), forward)
    raw_spacing = np.median(np.array(fingerprint.spacings, float), axis=0)
    raw_shape = np.median(np.array(fingerprint.shapes_after_crop, float), axis=0)
    return Plan(
        dataset_name=dataset.name,
        planner=planner,
        channel_names=dataset.channel_names,
        labels=dataset.labels,
        original_median_spacing_after_transp=tuple(float(raw_spacing[axis]) for axis in forward),
        original_median_shape_after_transp=tuple(int(np.rint(raw_shape[axis])) for axis in forward),
        transpose_forward=forward,
        transpose_backward=backward,
        intensities=_intensities(dataset, fingerprint, givens),
        configurations=_make_configurations(givens, _permute(target, forward), median, dataset.num_training),
    )


def _check(dataset: Dataset, fingerprint: Fingerprint, planner: str, gpu_memory_gb: float | None) -> Givens:
    """Refuse impossible requests; return what all configurations share."""
    if planner not in PLANNERS:
        raise UsageError(f"planner must be one of {list(PLANNERS)}, got {planner!r}{nearest(planner, PLANNERS)}")
    memory = PLANNERS[planner].gpu_memory_gb if gpu_memory_gb is None else gpu_memory_gb
    if not (math.isfinite(memory) and memory > 0):
        raise UsageError(f"gpu_memory_gb must be a positive number of gigabytes, got {gpu_memory_gb}")
    cases = len(fingerprint.spacings)
    if not cases or len(fingerprint.shapes_after_crop) != cases:
        raise DataError(
            f"the fingerprint of {dataset.name!r} needs a spacing and a shape for each of one or more cases, "
            f"got {cases} spacings and {len(fingerprint.shapes_after_crop)} shapes"
        )
    for index, case in enumerate(zip(fingerprint.spacings, fingerprint.shapes_after_crop, strict=True)):
        if any(len(values) != 3 or not all(math.isfinite(v) and v > 0 for v in values) for values in case):
            name = fingerprint.cases[index] if fingerprint.cases else f"number {index}"
            raise DataError(f"case {name}: spacing and shape must be three positive numbers each, got {case}")
    if len(fingerprint.intensities) != len(dataset.channel_names):
        raise DataError(
            f"the fingerprint of {dataset.name!r} has statistics of {len(fingerprint.intensities)} channels, "
            f"the dataset declares {len(dataset.channel_names)}: {list(dataset.channel_names)}"
        )
    schemes = channel_schemes(dataset)
    masks = mask_normalization(schemes, fingerprint.median_relative_size_after_cropping)
    return Givens(PLANNERS[planner], memory, len(dataset.labels.values), schemes, masks)


def _intensities(dataset: Dataset, fingerprint: Fingerprint, givens: Givens) -> tuple[IntensityStatistics, ...]:
    """Return the statistics that normalization uses: a stated CT window takes the place of what was measured."""
    window = dataset.window
    if window is None:
        return fingerprint.intensities
    return tuple(
        windowed(statistics, window) if scheme == "ct" else statistics
        for statistics, scheme in zip(fingerprint.intensities, givens.normalization_schemes, strict=True)
    )


def mask_normalization(schemes: Sequence[str], relative_size: float) -> tuple[bool, ...]:
    """Say per channel whether only the nonzero region is normalised.

    Rule: where cropping to nonzero removed more than a quarter of the volume, z-scoring leaves out the zeros.
    """
    return tuple(scheme == "zscore" and relative_size < MASK_NORMALIZATION_BELOW for scheme in schemes)


def _make_configurations(
    givens: Givens, spacing: Spacing, median: tuple[float, ...], num_training: int
) -> dict[str, Configuration]:
    """Plan `2d` always, `3d_fullres` unless images are single slices, the cascade where `3d_lowres` is worth it.

    The 2D batch-size cap counts the voxels of the whole volumes, like the 3D one. Batch Dice: everywhere but where a
    network sees nearly the whole image.
    """
    voxels = math.prod(median) * num_training
    configurations = {"2d": plan_configuration(givens, spacing[1:], median[1:], voxels, batch_dice=True)}
    if median[0] == 1:
        return configurations
    full = plan_configuration(givens, spacing, median, voxels)
    low = plan_lowres(givens, full, num_training)
    if low is not None:
        full = replace(full, batch_dice=True)
        configurations["3d_lowres"] = replace(low, next_stage="3d_cascade_fullres")
    configurations["3d_fullres"] = full
    if low is not None:
        configurations["3d_cascade_fullres"] = replace(full, previous_stage="3d_lowres")
    return configurations


def plan_configuration(
    givens: Givens, spacing: Spacing, median: tuple[float, ...], voxels: float, batch_dice: bool = False
) -> Configuration:
    """Plan one network: the largest patch that fits the memory, then the batch. `voxels`: of the whole dataset."""
    ndim = len(spacing)
    topology = _shrink_to_memory(givens, spacing, median, make_topology(spacing, initial_patch(spacing, median)))
    stages = len(topology.strides)
    estimate = _estimate(givens, topology)
    cap = round(voxels * givens.planner.max_dataset_covered / math.prod(topology.patch_size))
    fitting = round(givens.reference(ndim) / estimate * REFERENCE_BATCH_SIZE[ndim])
    return Configuration(
        spacing=spacing,
        patch_size=topology.patch_size,
        batch_size=max(min(fitting, cap), MIN_BATCH_SIZE),
        median_image_size_in_voxels=median,
        architecture=givens.planner.architecture,
        features_per_stage=_features(stages, ndim),
        kernel_sizes=topology.kernel_sizes,
        strides=topology.strides,
        n_conv_per_stage=_encoder_counts(givens.planner, stages),
        n_conv_per_stage_decoder=(givens.planner.decoder_count,) * (stages - 1),
        normalization_schemes=givens.normalization_schemes,
        use_mask_for_norm=givens.use_mask_for_norm,
        batch_dice=batch_dice,
    )


def initial_patch(spacing: Spacing, median: tuple[float, ...]) -> tuple[float, ...]:
    """Start from a cube (square) in millimetres that holds 256^3 (2048^2) voxels, cut to the median image.

    The result may be fractional where the median is; it is at least one voxel.
    """
    ndim = len(spacing)
    aspect = [1 / s for s in spacing]
    scale = (INITIAL_PATCH_VOXELS[ndim] / math.prod(aspect)) ** (1 / ndim)
    return tuple(max(min(round(a * scale), m), 1) for a, m in zip(aspect, median, strict=True))


def _shrink_to_memory(givens: Givens, spacing: Spacing, median: tuple[float, ...], topology: Topology) -> Topology:
    """Cut the patch, step by step, until the network fits.

    Rule: the axis that covers most of the median image gives way (of equals, the last). It is cut by the divisor that
    a cut by its present divisor would have, so that no valid size is skipped. Where a patch comes back, or no axis
    can give way, the smallest batch simply exceeds the target.
    """
    seen = {topology.patch_size}
    while _exceeds_memory(givens, topology):
        patch, divisor = topology.patch_size, topology.divisor
        axes = [axis for axis in range(len(patch)) if patch[axis] > divisor[axis]]
        if not axes:
            break
        axis = max(axes, key=lambda i: (patch[i] / median[i], i))
        topology = make_topology(spacing, _cut(patch, axis, divisor[axis]))
        if topology.divisor[axis] != divisor[axis]:
            topology = make_topology(spacing, _cut(patch, axis, topology.divisor[axis]))
        if topology.patch_size in seen:
            break
        seen.add(topology.patch_size)
    return topology


def _cut(patch: Shape, axis: int, amount: int) -> Shape:
    """Shorten one edge of a patch."""
    return tuple(edge - amount if i == axis else edge for i, edge in enumerate(patch))


def _exceeds_memory(givens: Givens, topology: Topology) -> bool:
    """Say whether the network needs more than the memory target.

    Rule: the plain planner asks whether the smallest batch fits, which lets 2D patches grow large; the ResEnc
    planners ask whether the reference batch fits.
    """
    ndim = len(topology.patch_size)
    estimate: float = _estimate(givens, topology)
    if givens.planner.architecture == "unet":
        estimate = estimate / REFERENCE_BATCH_SIZE[ndim] * MIN_BATCH_SIZE
    return estimate > givens.reference(ndim)


def _estimate(givens: Givens, topology: Topology) -> int:
    """Count the feature-map values of the network that would be built on `topology`."""
    stages = len(topology.strides)
    return memory_estimate(
        topology.patch_size,
        topology.strides,
        _features(stages, len(topology.patch_size)),
        _encoder_counts(givens.planner, stages),
        (givens.planner.decoder_count,) * (stages - 1),
        givens.num_outputs,
        givens.planner.architecture,
    )


def _features(stages: int, ndim: int) -> tuple[int, ...]:
    """Double the channels at each stage, from 32 up to 512 (2D) or 320 (3D)."""
    return tuple(min(MAX_FEATURES[ndim], BASE_FEATURES * 2**stage) for stage in range(stages))


def _encoder_counts(planner: Planner, stages: int) -> tuple[int, ...]:
    """Give each stage its convolutions or blocks; beyond the planner's list its last entry repeats."""
    counts = planner.encoder_counts
    return tuple(counts[min(stage, len(counts) - 1)] for stage in range(stages))


def plan_lowres(givens: Givens, full: Configuration, num_training: int) -> Configuration | None:
    """Plan the first stage of the cascade, or return None where it is not worth it.

    Rule: where the full-resolution patch covers less than a quarter of the median image, the spacing grows by 3 % at
    a time (finer axes first, until they are within a factor of two) until a patch covers a quarter. The result must
    have less than half the voxels.
    """
    spacing, covered, low = full.spacing, math.prod(full.patch_size), None
    size: tuple[float, ...] = full.median_image_size_in_voxels
    while covered / math.prod(size) < LOWRES_BELOW:
        spacing = _coarsen(spacing)
        size = tuple(
            fine / coarse * m
            for fine, coarse, m in zip(full.spacing, spacing, full.median_image_size_in_voxels, strict=True)
        )
        median = tuple(float(max(round(edge), 1)) for edge in size)
        low = plan_configuration(givens, spacing, median, math.prod(size) * num_training)
        covered = math.prod(low.patch_size)
    similar = math.prod(full.median_image_size_in_voxels) / math.prod(size) < LOWRES_MIN_RATIO
    return None if similar else low


def _coarsen(spacing: Spacing) -> Spacing:
    """Enlarge the voxels by 3 %: along axes less than half as coarse as the coarsest if any, else along all."""
    fine = [max(spacing) / s > 2 for s in spacing]
    return tuple(s * LOWRES_STEP if is_fine or not any(fine) else s for s, is_fine in zip(spacing, fine, strict=True))


def _permute(values: Sequence[float], order: Shape) -> tuple[float, ...]:
    """Put values in the planned order of axes."""
    return tuple(values[axis] for axis in order)
