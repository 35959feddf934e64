"""What a plan must fulfil beyond the shape of its parts; checked where people edit plans or bring them along."""

import dataclasses
import math
import re
from collections.abc import Collection, Iterable

from segfw.core.cases.dataset import Dataset
from segfw.core.errors import UsageError
from segfw.core.plan import Configuration, IntensityStatistics, Plan
from segfw.core.planning.spacing import LARGEST_SPACING, SMALLEST_SPACING
from segfw.core.support.conversion import nearest
from segfw.core.support.ranges import LARGEST_FLOAT, is_between

LARGEST = 2**31 - 1
"""No edge or batch of images is larger; tiny images with much memory really get such batches."""
MOST_STAGES = 64
MOST_CONVOLUTIONS = 1000
"""Of an encoder, or of a decoder, in all."""
MOST_FEATURES = 2**16
LARGEST_KERNEL = 31
"""Voxels per axis: more than any published network of this kind has, and 30,000 weights per pair of channels."""
MOST_VOXELS = 2**30
"""Of a patch. The rules begin with 2 ** 24 and then only shrink, or pad to whole strides."""
SPLINE_ORDERS = range(6)
_NAME = re.compile(r"\w[\w.-]*")


def check_fits(plan: Plan, dataset: Dataset, planners: Collection[str], place: str) -> None:
    """Raise `UsageError` for a plan of other channels, labels or name than those of `dataset`, or of another planner.

    `planners`: those that it may be of; it says whose memory estimate holds and where the runs lie.
    """
    if len(plan.channel_names) != len(dataset.channel_names):
        raise UsageError(
            f"{place} plans for the channels {list(plan.channel_names)} of {plan.dataset_name!r}; the dataset "
            f"{dataset.name!r} has {list(dataset.channel_names)}"
        )
    if plan.channel_names != dataset.channel_names:
        raise UsageError(
            f"{place}: channel_names must be {list(dataset.channel_names)} like those of the dataset {dataset.name!r}, "
            f"got {list(plan.channel_names)}; if the plan is meant for these channels, change that line, and check "
            "normalization_schemes and intensities, which were chosen for the others"
        )
    if plan.labels != dataset.labels:
        raise UsageError(
            f"{place} plans for the labels {plan.labels.values} of {plan.dataset_name!r}; the dataset {dataset.name!r} "
            f"has {dataset.labels.values}"
        )
    if plan.dataset_name != dataset.name:
        raise UsageError(
            f"{place}: dataset_name must be {dataset.name!r}, got {plan.dataset_name!r}; if the plan is meant for "
            f"{dataset.name!r}, whose channels and labels fit, change that line"
        )
    if plan.planner not in planners:
        raise UsageError(
            f"{place}: planner must be {' or '.join(map(repr, planners))} here, got {plan.planner!r}"
            f"{nearest(plan.planner, planners)}"
        )


def check_plan(plan: Plan) -> None:
    """Raise `UsageError` that names the place of the first contradiction in `plan`, or of a network without training.

    Plans that the rules make keep to `check_values` whatever the images; those of images of one voxel fail here.
    """
    check_values(plan)
    for name, configuration in plan.configurations.items():
        _check_trainable(configuration, f"configurations.{name}")


def check_values(plan: Plan) -> None:
    """Raise `UsageError` that names the place of the first contradiction in `plan`."""
    channels = len(plan.channel_names)
    if not channels:
        raise UsageError("channel_names needs at least one entry, got none")
    if len(plan.intensities) != channels:
        raise UsageError(
            f"intensities needs one entry per channel {list(plan.channel_names)}, got {len(plan.intensities)}"
        )
    for index, statistics in enumerate(plan.intensities):
        check_statistics(statistics, f"intensities[{index}]")
    _check_axes(plan)
    if not plan.configurations:
        raise UsageError("configurations needs at least one entry, got none")
    for name, configuration in plan.configurations.items():
        place = f"configurations.{name}"
        if not _NAME.fullmatch(name):
            raise UsageError(f"{place}: a configuration's name is made of letters, digits, _, - and ., got {name!r}")
        if name == "auto":
            raise UsageError(f"{place}: configurations=auto chooses all that the plan offers; give it another name")
        _check_entries(configuration, channels, place)
        for key in ("previous_stage", "next_stage"):
            stage = getattr(configuration, key)
            if stage is not None and (stage not in plan.configurations or stage == name):
                others = [other for other in plan.configurations if other != name]
                raise UsageError(f"{place}.{key} must be one of {others}, got {stage!r}")
        _check_stages(plan, name)
    for name in plan.configurations:
        _check_pairs(plan, name)


def check_statistics(statistics: IntensityStatistics, place: str) -> None:
    """Raise `UsageError` that names the statistic below `place` that no intensities could have."""
    for key, value in dataclasses.asdict(statistics).items():
        if not is_between(value, -LARGEST_FLOAT, LARGEST_FLOAT):
            raise UsageError(f"{place}.{key} must be a finite number, got {value}")
    if statistics.std < 0:
        raise UsageError(f"{place}.std must be at least 0, got {statistics.std}")
    if statistics.percentile_00_5 > statistics.percentile_99_5:
        raise UsageError(
            f"{place}.percentile_00_5 must be at most percentile_99_5 {statistics.percentile_99_5}, "
            f"got {statistics.percentile_00_5}"
        )


def _check_axes(plan: Plan) -> None:
    """Check what there is one of per image axis, whatever the configuration."""
    for key in ("original_median_spacing_after_transp", "original_median_shape_after_transp", "transpose_forward"):
        if len(getattr(plan, key)) != 3:
            raise UsageError(f"{key} needs 3 entries, got {getattr(plan, key)}")
    spacing = plan.original_median_spacing_after_transp
    if any(not (math.isfinite(value) and value > 0) for value in spacing):
        raise UsageError(f"original_median_spacing_after_transp must be positive and finite, got {spacing}")
    _check_counts(plan.original_median_shape_after_transp, "original_median_shape_after_transp")
    forward = plan.transpose_forward
    if sorted(forward) != [0, 1, 2]:
        raise UsageError(f"transpose_forward must be an order of the axes 0, 1 and 2, got {forward}")
    backward = tuple(forward.index(axis) for axis in range(3))
    if plan.transpose_backward != backward:
        raise UsageError(
            f"transpose_backward must undo transpose_forward {forward}: {backward}, got {plan.transpose_backward}"
        )


def _check_stages(plan: Plan, name: str) -> None:
    """Refuse stages of a cascade that wait for one another."""
    chain = [name]
    while (previous := plan.configurations[chain[-1]].previous_stage) in plan.configurations:
        if previous in chain:
            circle = " -> ".join((*chain[chain.index(previous) :], previous))
            raise UsageError(f"configurations.{name}.previous_stage goes round in a circle: {circle}")
        chain.append(previous)


def _check_pairs(plan: Plan, name: str) -> None:
    """Refuse a cascade that only one of its two stages names, and one of 2D and 3D."""
    configuration = plan.configurations[name]
    for key, back in (("previous_stage", "next_stage"), ("next_stage", "previous_stage")):
        other = getattr(configuration, key)
        if other is None:
            continue
        place, answer = f"configurations.{name}.{key}", getattr(plan.configurations[other], back)
        if answer != name:
            raise UsageError(f"{place} is {other!r}, so configurations.{other}.{back} must be {name!r}, got {answer!r}")
        if plan.configurations[other].is_2d != configuration.is_2d:
            raise UsageError(f"{place} must have as many axes as {name}, got {other!r}: one is 2D, the other 3D")


def check_configuration(configuration: Configuration, num_channels: int, place: str) -> None:
    """Raise `UsageError` that names the first key below `place` whose values no network or image could have."""
    _check_entries(configuration, num_channels, place)
    _check_trainable(configuration, place)


def _check_entries(configuration: Configuration, num_channels: int, place: str) -> None:
    for key in ("normalization_schemes", "use_mask_for_norm"):
        values = getattr(configuration, key)
        if len(values) != num_channels:
            raise UsageError(f"{place}.{key} needs one entry for each of {num_channels} channels, got {values}")
    _check_sizes(configuration, place)
    _check_median(configuration, place)
    _check_spacing(configuration, place)
    _check_kernels(configuration, place)
    if set(configuration.strides[0]) != {1}:
        raise UsageError(f"{place}.strides must be 1 in the first stage, got {configuration.strides}")
    for key in ("order_image", "order_label", "order_probabilities", "order_z"):
        order = getattr(configuration.resampling, key)
        if order not in SPLINE_ORDERS:
            raise UsageError(f"{place}.resampling.{key} must be a spline order from 0 to 5, got {order}")


def _check_sizes(configuration: Configuration, place: str) -> None:
    """Refuse counts and sizes of a network, or of what it sees, that no machine holds."""
    stages = len(configuration.strides)
    if stages > MOST_STAGES:
        raise UsageError(f"{place}.strides must have at most {MOST_STAGES} rows, one per stage, got {stages}")
    _check_counts(configuration.patch_size, f"{place}.patch_size")
    voxels = math.prod(configuration.patch_size)
    if voxels > MOST_VOXELS:
        raise UsageError(
            f"{place}.patch_size must have at most {MOST_VOXELS} voxels, got {configuration.patch_size}, which has "
            f"{voxels}"
        )
    _check_counts((configuration.batch_size,), f"{place}.batch_size")
    _check_counts(configuration.features_per_stage, f"{place}.features_per_stage", MOST_FEATURES)
    for key in ("n_conv_per_stage", "n_conv_per_stage_decoder"):
        counts = getattr(configuration, key)
        _check_counts(counts, f"{place}.{key}", MOST_CONVOLUTIONS)
        if sum(counts) > MOST_CONVOLUTIONS:
            raise UsageError(f"{place}.{key} must be at most {MOST_CONVOLUTIONS} in all, got {sum(counts)} in {counts}")
    for row in configuration.strides:
        _check_counts(row, f"{place}.strides")


def _check_trainable(configuration: Configuration, place: str) -> None:
    if configuration.patch_size == configuration.divisor:
        halved = any(step > 1 for step in configuration.divisor)
        smaller = f", or the product of the strides {configuration.divisor} smaller" if halved else ""
        raise UsageError(
            f"{place}.patch_size {configuration.patch_size} leaves a single voxel to the last stage, which cannot be "
            f"normalized over the instance: the patch must be larger{smaller} "
            f"(images of a single voxel cannot be trained on)"
        )


def _check_spacing(configuration: Configuration, place: str) -> None:
    """Refuse spacings that no image has; the first stage of a cascade is coarser by up to all the voxels there are."""
    largest = LARGEST_SPACING if configuration.next_stage is None else LARGEST_SPACING * LARGEST
    if not all(is_between(edge, SMALLEST_SPACING, largest) for edge in configuration.spacing):
        raise UsageError(
            f"{place}.spacing must be between {SMALLEST_SPACING:g} and {largest:g} mm, got {configuration.spacing}"
        )


def _check_kernels(configuration: Configuration, place: str) -> None:
    kernels = configuration.kernel_sizes
    if any(width % 2 == 0 for row in kernels for width in row):
        raise UsageError(f"{place}.kernel_sizes must be odd, got {kernels}")
    if any(not 1 <= width <= LARGEST_KERNEL for row in kernels for width in row):
        raise UsageError(f"{place}.kernel_sizes must be between 1 and {LARGEST_KERNEL}, got {kernels}")


def _check_median(configuration: Configuration, place: str) -> None:
    size, axes = configuration.median_image_size_in_voxels, len(configuration.spacing)
    if len(size) != axes:
        raise UsageError(f"{place}.median_image_size_in_voxels needs {axes} entries like spacing, got {size}")
    if any(not (math.isfinite(edge) and edge > 0) for edge in size):
        raise UsageError(f"{place}.median_image_size_in_voxels must be positive and finite, got {size}")


def _check_counts(values: Iterable[int], place: str, most: int = LARGEST) -> None:
    """Refuse numbers that no count of voxels, channels or layers can be."""
    values = tuple(values)
    if any(not 1 <= value <= most for value in values):
        raise UsageError(f"{place} must be between 1 and {most}, got {values}")
