"""What planning needs to know of the images: shapes, spacings and the intensities of foreground voxels.

Every number equals nnU-Net's bit for bit: seeds, sampling with replacement, and sums in float32.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from segfw.core.cases.case_checks import checked_image, checked_label
from segfw.core.errors import DataError
from segfw.core.imaging.cropping import crop_to_nonzero
from segfw.core.plan import Fingerprint, IntensityStatistics
from segfw.core.types import FloatArray, Shape, Spacing, Volume

TOTAL_SAMPLES = 100_000_000
"""Intensities drawn per channel from the whole dataset, shared evenly over the cases."""
SAMPLING_SEED = 1234
BLOCK = 2**14
"""Values drawn and summed at once: what fits a processor's cache is not fetched from memory between two steps."""
PERCENTILES = np.array((0.5, 50.0, 99.5))


@dataclass(frozen=True, eq=False)
class CaseFingerprint:
    """One case's part of the fingerprint.

    `spacing` (mm) and `shape_after_crop` are (Z, Y, X); `relative_size`: share of the voxels that the crop keeps;
    `samples`: float32 `(C, n)` intensities of foreground voxels, `(C, 0)` without foreground or when kept elsewhere.
    """

    name: str
    spacing: Spacing
    shape_after_crop: Shape
    relative_size: float
    has_foreground: bool
    samples: FloatArray

    def without_samples(self) -> "CaseFingerprint":
        """Return the small part, to be passed between processes once the samples are written elsewhere."""
        return replace(self, samples=np.empty((len(self.samples), 0), np.float32))


def samples_per_case(num_cases: int) -> int:
    """Return how many intensities each of `num_cases` cases gives per channel."""
    if num_cases < 1:
        raise DataError("a fingerprint needs at least one case, the dataset has none")
    return max(1, TOTAL_SAMPLES // num_cases)


def fingerprint_case(name: str, image: Volume, label: Volume, num_samples: int) -> CaseFingerprint:
    """Measure one case. Foreground is every label above 0, the ignore label included, inside the crop.

    `DataError` with the case's name where image and label map do not fit together.
    """
    try:
        channels, labels = checked_image(image), checked_label(label, image)
    except DataError as error:
        raise DataError(f"case {name!r}: {error}") from error
    cropped, marked, _ = crop_to_nonzero(channels, labels)
    foreground = marked[0] > 0
    has_foreground = bool(foreground.any())
    samples = np.empty((len(channels), num_samples if has_foreground else 0), np.float32)
    generator = np.random.RandomState(SAMPLING_SEED)
    if has_foreground:
        for row, channel in zip(samples, cropped, strict=True):
            _draw(channel[foreground], generator, row)
    return CaseFingerprint(
        name=name,
        spacing=tuple(float(s) for s in image.spacing),
        shape_after_crop=cropped.shape[1:],
        relative_size=float(np.prod(cropped.shape[1:]) / np.prod(image.shape)),
        has_foreground=has_foreground,
        samples=samples,
    )


def _draw(voxels: FloatArray, generator: np.random.RandomState, row: FloatArray) -> None:
    """Fill `row` with draws from `voxels`; drawing in blocks gives what drawing all at once does."""
    for start in range(0, len(row), BLOCK):
        block = row[start : start + BLOCK]
        np.take(voxels, generator.randint(0, len(voxels), len(block)), out=block, mode="clip")  # "raise" would copy


def pool_fingerprints(
    cases: Sequence[CaseFingerprint], read_row: Callable[[int], FloatArray] | None = None
) -> Fingerprint:
    """Put the cases of a dataset together, in their order.

    `read_row(channel)`: float32 `(n * len(cases),)`, which is spoiled, where case `i` has filled entries `i * n` to
    `(i + 1) * n`; those of cases without foreground are not used. None takes the samples that the cases carry. One row
    is held at a time (400 MB), twice that in float64, and three times in passing, when a case is empty. `DataError`
    when no case has foreground.
    """
    kept = [case for case in cases if case.has_foreground]
    if not kept:
        raise DataError(
            f"none of the {len(cases)} cases has a foreground voxel (a label above 0 inside the nonzero image region), "
            f"so there is no intensity to measure; check that images and label maps belong together"
        )
    num_channels = len(kept[0].samples)
    odd = [case.name for case in kept if len(case.samples) != num_channels]
    if odd:
        raise DataError(f"case {kept[0].name!r} has {num_channels} channels, these cases have another number: {odd}")
    return Fingerprint(
        spacings=tuple(case.spacing for case in cases),
        shapes_after_crop=tuple(case.shape_after_crop for case in cases),
        intensities=tuple(_statistics(_pooled_row(cases, read_row, channel)) for channel in range(num_channels)),
        median_relative_size_after_cropping=float(np.median([case.relative_size for case in cases])),
        cases=tuple(case.name for case in cases),
    )


def _pooled_row(
    cases: Sequence[CaseFingerprint], read_row: Callable[[int], FloatArray] | None, channel: int
) -> FloatArray:
    """Join one channel's samples, in float64 if a case is empty: what numpy makes of the reference's empty list."""
    some_case_empty = not all(case.has_foreground for case in cases)
    row: FloatArray
    if read_row is None:
        row = np.concatenate([case.samples[channel] for case in cases if case.has_foreground])
    else:
        row = read_row(channel)
        if some_case_empty:
            per_case = row.reshape(len(cases), -1)
            row = per_case[[case.has_foreground for case in cases]].reshape(-1)
    return row.astype(np.float64 if some_case_empty else np.float32, copy=False)


def _statistics(row: FloatArray) -> IntensityStatistics:
    """Measure a row in the memory of that row, whose order the percentiles spoil.

    numpy's pairwise sums and its percentile of the row's type are part of the definition.
    """
    mean = row.mean()
    std = np.sqrt(_squared_deviations(row, mean) / row.dtype.type(len(row)))  # row.std(), without its copy of the row
    low, median, high = np.percentile(row, PERCENTILES, overwrite_input=True)
    return IntensityStatistics(
        mean=float(mean),
        median=float(median),
        std=float(std),
        min=float(row.min()),
        max=float(row.max()),
        percentile_99_5=float(high),
        percentile_00_5=float(low),
    )


def _squared_deviations(row: FloatArray, mean: np.floating) -> np.floating:
    """Sum `(row - mean) ** 2` in the order in which numpy's pairwise sum of the whole row would."""
    if len(row) <= BLOCK:
        deviations = row - mean
        total: np.floating = np.multiply(deviations, deviations, out=deviations).sum()
        return total
    half = len(row) // 2
    half -= half % 8  # numpy halves so, to keep its eight partial sums busy
    return _squared_deviations(row[:half], mean) + _squared_deviations(row[half:], mean)
