"""From fingerprint to plan: which networks are trained, on what grid, patch and batch.

Each function is one rule of nnU-Net (Isensee et al. 2021, Methods, "Inferred parameters" and supplement), as its
version 2 plans. Everything is arithmetic on the fingerprint, so a plan takes milliseconds and needs no GPU.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from segfw.core.cases.dataset import Dataset
from segfw.core.cases.modality import channel_schemes, windowed
from segfw.core.plan import Configuration, Fingerprint, IntensityStatistics, Plan
from segfw.core.planning.checks import check_values
from segfw.core.planning.givens import check_measured, check_options
from segfw.core.planning.patch_size import (
    choose_batch,
    decoder_counts,
    encoder_counts,
    network_memory,
    shrink_to_memory,
    stage_features,
)
from segfw.core.planning.planners import PLANNERS, Givens
from segfw.core.planning.spacing import axis_order, given_spacing, median_resampled_shape
from segfw.core.planning.spacing import target_spacing as spacing_rule
from segfw.core.types import Shape, Spacing

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

    Every valid fingerprint has a plan. That of images of one voxel cannot be trained, which `check_plan` refuses.
    """
    check_options(planner, gpu_memory_gb, transpose)
    givens = _make_givens(dataset, fingerprint, planner, gpu_memory_gb)
    target = spacing_rule(fingerprint) if target_spacing is None else given_spacing(target_spacing)
    forward, backward = axis_order(target, transpose)
    median = _permute(median_resampled_shape(fingerprint, target), forward)
    # numpy's median and its 50th percentile may differ in the last bit; each is used where the reference does
    raw_spacing = np.median(np.array(fingerprint.spacings, float), axis=0)
    raw_shape = np.median(np.array(fingerprint.shapes_after_crop, float), axis=0)
    plan = Plan(
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
    check_values(plan)
    return plan


def _make_givens(dataset: Dataset, fingerprint: Fingerprint, planner: str, gpu_memory_gb: float | None) -> Givens:
    """Return what all configurations share, once all that planning is given is checked."""
    check_measured(dataset, fingerprint)
    schemes = channel_schemes(dataset)
    masks = mask_normalization(schemes, fingerprint.median_relative_size_after_cropping)
    memory = PLANNERS[planner].gpu_memory_gb if gpu_memory_gb is None else float(gpu_memory_gb)
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
    low = search_lowres(givens, full, num_training).configuration
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
    *_, topology = shrink_to_memory(givens, spacing, median)
    stages = len(topology.strides)
    batch = choose_batch(givens, network_memory(givens, topology), topology.patch_size, voxels)
    return Configuration(
        spacing=spacing,
        patch_size=topology.patch_size,
        batch_size=batch.size,
        median_image_size_in_voxels=median,
        architecture=givens.planner.architecture,
        features_per_stage=stage_features(stages, len(spacing)),
        kernel_sizes=topology.kernel_sizes,
        strides=topology.strides,
        n_conv_per_stage=encoder_counts(givens.planner, stages),
        n_conv_per_stage_decoder=decoder_counts(givens.planner, stages),
        normalization_schemes=givens.normalization_schemes,
        use_mask_for_norm=givens.use_mask_for_norm,
        batch_dice=batch_dice,
    )


@dataclass(frozen=True)
class LowresSearch:
    """The first stage of the cascade that the search ended with, and what it rests on.

    `steps`: enlargements of the voxels by 3 %; `covered`: share of the median image that the last patch covers;
    `reduction`: how many times fewer voxels the median image has then.
    """

    candidate: Configuration | None
    steps: int
    covered: float
    reduction: float

    @property
    def configuration(self) -> Configuration | None:
        """The stage, or None where it is not worth it. Rule: it must have at most half the voxels."""
        return None if self.reduction < LOWRES_MIN_RATIO else self.candidate


def search_lowres(givens: Givens, full: Configuration, num_training: int) -> LowresSearch:
    """Look for a resolution at which a patch sees enough.

    Rule: where the full-resolution patch covers less than a quarter of the median image, the spacing grows by 3 % at
    a time (finer axes first, until they are within a factor of two) until a patch covers a quarter.
    """
    spacing, low, steps = full.spacing, None, 0
    size: tuple[float, ...] = full.median_image_size_in_voxels
    whole = math.prod(size)
    covered = math.prod(full.patch_size) / whole
    while covered < LOWRES_BELOW:
        spacing, steps = _coarsen(spacing), steps + 1
        size = resized_image(full, spacing)
        median = tuple(float(max(round(edge), 1)) for edge in size)
        low = plan_configuration(givens, spacing, median, math.prod(size) * num_training)
        covered = math.prod(low.patch_size) / math.prod(size)
    return LowresSearch(low, steps, covered, whole / math.prod(size))


def resized_image(full: Configuration, spacing: Spacing) -> tuple[float, ...]:
    """Return the median image of `full` at another spacing, in fractions of voxels."""
    sizes = zip(full.spacing, spacing, full.median_image_size_in_voxels, strict=True)
    return tuple(fine / coarse * size for fine, coarse, size in sizes)


def _coarsen(spacing: Spacing) -> Spacing:
    """Enlarge the voxels by 3 %: along axes less than half as coarse as the coarsest if any, else along all."""
    fine = [max(spacing) / s > 2 for s in spacing]
    return tuple(s * LOWRES_STEP if is_fine or not any(fine) else s for s, is_fine in zip(spacing, fine, strict=True))


def _permute(values: Sequence[float], order: Shape) -> tuple[float, ...]:
    """Put values in the planned order of axes."""
    return tuple(values[axis] for axis in order)
