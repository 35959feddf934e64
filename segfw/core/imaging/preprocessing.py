"""From a case as it was read to what the network sees, and back onto the original grid.

Order (nnU-Net's): transpose, crop to nonzero, normalize, resample, note where each class lies. One function serves
training and prediction.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np
from numpy.typing import NDArray

from segfw.core.cases.case_checks import checked_image, checked_label
from segfw.core.errors import DataError
from segfw.core.imaging.cropping import Box, box_slices, crop_to_nonzero
from segfw.core.imaging.normalization import normalize_channel
from segfw.core.imaging.resampling import resample_channel, resample_label, resampled_shape
from segfw.core.labels import LabelKey
from segfw.core.plan import Configuration, Plan, Resampling
from segfw.core.support.host_memory import available_memory
from segfw.core.types import FloatArray, IntArray, Shape, Spacing, Volume

FLOAT_BYTES = 4
LOCATIONS_SEED = 1234
MIN_LOCATIONS = 10_000
MIN_LOCATIONS_SHARE = 0.01


@dataclass(frozen=True)
class CropRecord:
    """What undoing the preprocessing of a case needs.

    `spacing`: of the raw image, mm, (Z, Y, X). Shapes and box follow the planned axis order.
    """

    spacing: Spacing
    shape_before_cropping: Shape
    box: Box
    shape_after_cropping: Shape
    resampled_shape: Shape


@dataclass(frozen=True, eq=False)
class PreprocessedCase:
    """A case in the plan's axis order and spacing.

    `image`: float32 `(C, d0, d1, d2)`; `label`: int16 `(1, d0, d1, d2)`, -1 outside the nonzero region, None where none
    was given; `locations`: C-order flat indices into `(d0, d1, d2)` of voxels of each class or region.
    """

    image: FloatArray
    label: IntArray | None
    locations: dict[LabelKey, NDArray[np.int64]]
    record: CropRecord


Resample = Callable[[FloatArray, Shape, Spacing, Spacing, Resampling], FloatArray]
"""What brings one channel to another grid: `resample_channel`, or the same on a GPU."""


def preprocess_case(
    image: Volume,
    label: Volume | None,
    plan: Plan,
    configuration: Configuration,
    resample: Resample = resample_channel,
) -> PreprocessedCase:
    """Preprocess one case; the caller's arrays stay as they are.

    Raises `DataError` where channels, shapes or values do not fit (see `case_checks`), and where memory has no room for
    the result. Beside the input and the result, this holds about two copies of one channel at a time (the normalized
    channel, and resampling's intermediate result of a part of it) and the label map in small integers.
    """
    # Views up to normalization, whose float32 sums depend on the layout in memory.
    to_planned = (0, *(1 + axis for axis in plan.transpose_forward))
    channels = checked_image(image, len(plan.channel_names)).transpose(to_planned)
    cropped, marked, box = crop_to_nonzero(
        channels, None if label is None else checked_label(label, image).transpose(to_planned)
    )
    spacing = tuple(image.spacing[axis] for axis in plan.transpose_forward)
    new_spacing = configuration_spacing(configuration, image.spacing, plan.transpose_forward)
    record = CropRecord(
        spacing=tuple(float(s) for s in image.spacing),
        shape_before_cropping=channels.shape[1:],
        box=box,
        shape_after_cropping=cropped.shape[1:],
        resampled_shape=resampled_shape(cropped.shape[1:], spacing, new_spacing),
    )
    _check_room(len(cropped), record, new_spacing)
    resampled = np.empty((len(cropped), *record.resampled_shape), np.float32)
    for channel, normalizing in enumerate(_channel_normalizations(marked, plan, configuration)):
        # Nobody names the normalized channel, so that resampling can free it.
        resampled[channel] = resample(
            normalizing(cropped[channel]), record.resampled_shape, spacing, new_spacing, configuration.resampling
        )
    if label is None:
        return PreprocessedCase(resampled, None, {}, record)
    marked = resample_label(marked, record.resampled_shape, spacing, new_spacing, configuration.resampling)
    resampled_label = np.ascontiguousarray(marked, np.int16)
    locations = class_locations(resampled_label, plan.labels.location_keys)
    return PreprocessedCase(resampled, resampled_label, locations, record)


def _check_room(channels: int, record: CropRecord, new_spacing: Spacing) -> None:
    """Refuse a grid so fine that the resampled channels alone take more than the memory that is free."""
    need, free = FLOAT_BYTES * channels * prod(record.resampled_shape), available_memory()
    if need > free:
        extent, finer = (" x ".join(map(str, s)) for s in (record.shape_after_cropping, record.resampled_shape))
        spacing = " x ".join(f"{s:g}" for s in new_spacing)
        raise DataError(
            f"resampled to the plan's spacing of {spacing} mm, {extent} voxels become {finer}, and {channels} channels "
            f"of them take {need / 1e9:.4g} GB of memory, but {free / 1e9:.4g} GB are free"
        )


def configuration_spacing(configuration: Configuration, spacing: Spacing, transpose_forward: Shape) -> Spacing:
    """Return three target spacings in the planned axis order; slices of a 2D configuration keep the case's distance.

    `spacing`: of the raw image, mm, (Z, Y, X).
    """
    if configuration.is_2d:
        return (float(spacing[transpose_forward[0]]), *configuration.spacing)
    return configuration.spacing


def class_locations(label: IntArray, keys: tuple[LabelKey, ...]) -> dict[LabelKey, NDArray[np.int64]]:
    """Draw voxels of each key without replacement, as C-order flat indices into `label`'s spatial shape.

    A key gets 10,000 voxels, or 1 % of its voxels if that is more, or all it has. Same draws as nnU-Net's: one
    generator for all keys in their order, a key's labels one after another. No voxel: an empty array, nothing drawn.
    """
    generator = np.random.RandomState(LOCATIONS_SEED)
    blocks = _voxels_by_label(label.reshape(-1), {value for key in keys for value in key})
    locations = {}
    for key in keys:
        voxels = np.concatenate([blocks[value] for value in key])
        wanted = max(min(MIN_LOCATIONS, len(voxels)), int(np.ceil(len(voxels) * MIN_LOCATIONS_SHARE)))
        locations[key] = voxels[generator.permutation(len(voxels))[:wanted]] if len(voxels) else voxels
    return locations


def _channel_normalizations(
    marked: IntArray, plan: Plan, configuration: Configuration
) -> list[Callable[[FloatArray], FloatArray]]:
    """Return what normalizes each channel; `marked` is -1 outside the nonzero region."""
    channels, intensities = len(plan.channel_names), plan.intensities
    schemes, use_mask = configuration.normalization_schemes, configuration.use_mask_for_norm
    if not channels == len(schemes) == len(use_mask) == len(intensities):
        raise DataError(
            f"the plan has {channels} channels, but {len(schemes)} normalization schemes, {len(use_mask)} mask flags "
            f"and statistics of {len(intensities)} channels"
        )
    inside = marked[0] >= 0 if any(use_mask) else None
    return [
        partial(normalize_channel, inside=inside if masked else None, scheme=scheme, over_dataset=statistics)
        for scheme, masked, statistics in zip(schemes, use_mask, intensities, strict=True)
    ]


def uncrop(values: NDArray[np.generic], record: CropRecord, plan: Plan) -> NDArray[np.generic]:
    """Undo crop and transposition of a map `(d0, d1, d2)` of the cropped region: `(Z, Y, X)`, zeros outside."""
    whole = np.zeros(record.shape_before_cropping, values.dtype)
    whole[box_slices(record.box)] = values
    return whole.transpose(plan.transpose_backward)


def _voxels_by_label(flat: IntArray, values: set[int]) -> dict[int, NDArray[np.int64]]:
    """Return the ascending indices of each value: one stable sort of the voxels that hold any of them."""
    wanted = sorted(values)
    positions = np.flatnonzero(np.isin(flat, wanted)).astype(np.int64, copy=False)
    found = flat[positions]
    order = np.argsort(found, kind="stable")
    positions, found = positions[order], found[order]
    starts, stops = np.searchsorted(found, wanted, "left"), np.searchsorted(found, wanted, "right")
    return {value: positions[a:b] for value, a, b in zip(wanted, starts, stops, strict=True)}
