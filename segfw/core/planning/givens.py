"""What planning is given, checked at the door, so that every rule may compute with it."""

from collections.abc import Collection
from typing import Any

from segfw.core.cases.dataset import Dataset
from segfw.core.errors import DataError, UsageError
from segfw.core.labels import LabelSet
from segfw.core.plan import Fingerprint, IntensityStatistics
from segfw.core.planning.checks import LARGEST, check_statistics
from segfw.core.planning.planners import PLANNERS
from segfw.core.planning.spacing import LARGEST_SPACING, SMALLEST_SPACING
from segfw.core.support.conversion import nearest
from segfw.core.support.ranges import is_between

GPU_MEMORY_GB = 1e-30, 1e12
RELATIVE_SIZE = 1e-30, 1e30
"""Far beyond what there is, but such that products with them stay numbers."""


def check_options(planner: Any, gpu_memory_gb: Any, transpose: Any) -> None:
    """Raise `UsageError` for a planner that there is not, and for what is no amount of memory or no truth value."""
    if not isinstance(planner, str) or planner not in PLANNERS:
        raise UsageError(f"planner must be one of {list(PLANNERS)}, got {planner!r}{nearest(str(planner), PLANNERS)}")
    if gpu_memory_gb is not None and not is_between(gpu_memory_gb, *GPU_MEMORY_GB):
        raise UsageError(f"gpu_memory_gb must be a positive number of gigabytes, got {gpu_memory_gb!r}")
    if not isinstance(transpose, bool):
        raise UsageError(f"transpose must be True or False, got {transpose!r}")


def check_measured(dataset: Any, fingerprint: Any) -> None:
    """Raise `DataError` for a fingerprint whose numbers are impossible or do not fit the dataset, naming the case.

    `UsageError` for what is no dataset or no fingerprint.
    """
    if not isinstance(dataset, Dataset):
        raise UsageError(f"dataset must be a Dataset, as read_dataset_json returns it, got {type(dataset).__name__}")
    if not isinstance(dataset.labels, LabelSet):
        raise UsageError(f"labels of {dataset.name!r} must be a LabelSet, got {type(dataset.labels).__name__}")
    if not isinstance(fingerprint, Fingerprint):
        raise UsageError(
            f"fingerprint must be a Fingerprint, as read_fingerprint returns it, got {type(fingerprint).__name__}"
        )
    if not is_between(dataset.num_training, 0, LARGEST):
        raise DataError(
            f"num_training of {dataset.name!r} must be a number of cases up to {LARGEST}, got {dataset.num_training!r}"
        )
    _check_cases(dataset.name, fingerprint)
    relative_size = fingerprint.median_relative_size_after_cropping
    if not is_between(relative_size, *RELATIVE_SIZE):
        raise DataError(
            f"the fingerprint of {dataset.name!r}: median_relative_size_after_cropping must be a positive number, "
            f"got {relative_size!r}"
        )
    _check_intensities(dataset, fingerprint.intensities)


def _check_cases(name: str, fingerprint: Fingerprint) -> None:
    spacings, shapes, names = (
        values if isinstance(values, Collection) else ()
        for values in (fingerprint.spacings, fingerprint.shapes_after_crop, fingerprint.cases)
    )
    if not spacings or len(shapes) != len(spacings) or len(names) not in (0, len(spacings)):
        raise DataError(
            f"the fingerprint of {name!r} needs a spacing and a shape for each of one or more cases, "
            f"got {len(spacings)} spacings and {len(shapes)} shapes" + (f" of {len(names)} names" if names else "")
        )
    for index, (spacing, shape) in enumerate(zip(spacings, shapes, strict=True)):
        if not _three(spacing, SMALLEST_SPACING, LARGEST_SPACING) or not _three(shape, 1, LARGEST):
            case = repr(fingerprint.cases[index]) if names else f"number {index}"
            raise DataError(
                f"case {case}: spacing and shape must be three positive numbers each, from {SMALLEST_SPACING:g} to "
                f"{LARGEST_SPACING:g} mm and from 1 to {LARGEST} voxels, got {(spacing, shape)}"
            )


def _check_intensities(dataset: Dataset, intensities: Any) -> None:
    known = isinstance(intensities, Collection) and all(isinstance(entry, IntensityStatistics) for entry in intensities)
    if not known or len(intensities) != len(dataset.channel_names):
        found = f"statistics of {len(intensities)} channels" if known else f"for statistics {intensities!r}"
        raise DataError(
            f"the fingerprint of {dataset.name!r} has {found}, "
            f"the dataset declares {len(dataset.channel_names)}: {list(dataset.channel_names)}"
        )
    for index, statistics in enumerate(intensities):
        try:
            check_statistics(statistics, f"intensities[{index}]")
        except UsageError as error:
            raise DataError(f"the fingerprint of {dataset.name!r}: {error}") from error


def _three(values: Any, least: float, most: float) -> bool:
    three = isinstance(values, Collection) and len(values) == 3
    return three and all(is_between(value, least, most) for value in values)
