"""From logits on the network's grid to a segmentation on the image's own: the inverse of preprocessing.

Nothing of size heads x volume is made on the image's grid, unless probabilities are asked for in memory: rows are
worked through in bands (`restoring_planes`), and of each output plane only the best head is kept.

Interpolation in float32; nnU-Net's is float64 rounded to float16, so only voxels whose two best heads all but tie can
differ. Linear interpolation between samples and at the edge never leaves the input's range: the clipping of the rule
has nothing to do.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segfw.core.errors import JobError
from segfw.core.imaging.cropping import box_slices
from segfw.core.imaging.preprocessing import CropRecord, configuration_spacing, uncrop
from segfw.core.labels import LabelSet
from segfw.core.plan import Configuration, Plan
from segfw.core.support.files import atomic_path, take_room
from segfw.core.types import IntArray, Shape
from segfw.inference.restoring_planes import (
    ON_CPU,
    LogitMap,
    Place,
    best_heads,
    blended_planes,
    row_bands,
    row_bytes,
)
from segfw.inference.uncertainty import entropies

__all__ = [
    "LogitMap",
    "restore_ensemble",
    "restore_ensemble_probabilities",
    "restore_probabilities",
    "restore_segmentation",
    "restore_uncertainty",
    "segment_for_next_stage",
    "stream_probabilities",
]

SINGLE, BLENDED = 2, 5
"""Planes of (heads, rows, d2) in float32 that are held per map: the two neighbors; and their blend, its probabilities,
and what softmax takes."""
HALF = 2


def restore_segmentation(
    logits: Tensor | NDArray[np.floating],
    record: CropRecord,
    plan: Plan,
    configuration: Configuration,
    place: Place = ON_CPU,
) -> IntArray:
    """Return the label map `(Z, Y, X)` for logits `(heads, d0, d1, d2)`; background outside the crop."""
    return restore_ensemble([LogitMap(torch.as_tensor(logits), record, configuration)], plan, place)


def segment_for_next_stage(
    logits: Tensor | NDArray[np.floating],
    record: CropRecord,
    plan: Plan,
    configuration: Configuration,
    shape: Shape,
    place: Place = ON_CPU,
) -> IntArray:
    """Return the label map `(d0, d1, d2)` on a finer grid of `shape` over the same crop, in the plan's axis order.

    That is what the next stage of a cascade is given. Logits are resized as for a prediction; but as in nnU-Net the old
    spacing stands for the new one, too, where it is decided whether a coarse axis is resized apart.
    """
    spacing = configuration_spacing(configuration, record.spacing, plan.transpose_forward)
    grid = CropRecord(  # as if the finer grid were an image of its own
        spacing=tuple(spacing[axis] for axis in plan.transpose_backward),
        shape_before_cropping=shape,
        box=tuple((0, extent) for extent in shape),
        shape_after_cropping=shape,
        resampled_shape=record.resampled_shape,
    )
    segmentation = restore_segmentation(logits, grid, plan, configuration, place)
    return np.ascontiguousarray(segmentation.transpose(plan.transpose_forward))


def restore_probabilities(
    logits: Tensor | NDArray[np.floating], record: CropRecord, plan: Plan, configuration: Configuration
) -> NDArray[np.float32]:
    """Return float32 probabilities `(heads, Z, Y, X)`, all in memory; outside the crop background is certain."""
    return restore_ensemble_probabilities([LogitMap(torch.as_tensor(logits), record, configuration)], plan)


@torch.inference_mode()
def restore_ensemble(maps: Sequence[LogitMap], plan: Plan, place: Place = ON_CPU) -> IntArray:
    """Return the label map `(Z, Y, X)` of one case from the logits of one or several configurations.

    Several are averaged as probabilities on the image's grid (folds of one configuration are to be averaged before, as
    logits).
    """
    labels, shape = plan.labels, maps[0].record.shape_after_cropping
    dtype = np.uint8 if max(labels.all_values) < 255 else np.uint16
    segmentation = np.empty(shape, dtype)
    fused = len(maps) == 1 and not labels.has_regions
    for rows in row_bands(maps, row_bytes(maps, SINGLE if fused else BLENDED * len(maps), place), place):
        if fused:
            planes = best_heads(blended_planes(maps[0], plan, rows, place))
        else:
            planes = (_decoded(p, labels) for p in _mean_probabilities(maps, plan, rows, place))
        for z, decoded in enumerate(planes):
            segmentation[z, rows] = decoded.cpu().numpy()
    return np.ascontiguousarray(uncrop(segmentation, maps[0].record, plan), dtype)


@torch.inference_mode()
def restore_ensemble_probabilities(maps: Sequence[LogitMap], plan: Plan, place: Place = ON_CPU) -> NDArray[np.float32]:
    """Return the probabilities, float32 `(heads, Z, Y, X)`, that `restore_ensemble` decides by; all in memory.

    Outside the crop the first label (background) is 1 and all else 0; regions are 0 there.
    """
    whole = np.zeros(_whole_shape(maps, plan), np.float32)
    if not plan.labels.has_regions:
        whole[0] = 1
    inside = _inside(whole, maps[0].record, plan)
    for rows in row_bands(maps, row_bytes(maps, BLENDED * len(maps), place), place):
        for z, probabilities in enumerate(_mean_probabilities(maps, plan, rows, place)):
            inside[:, z, rows] = probabilities.cpu().numpy()
    return whole


@torch.inference_mode()
def stream_probabilities(maps: Sequence[LogitMap], plan: Plan, path: Path, place: Place = ON_CPU) -> None:
    """Write the probabilities of `restore_ensemble_probabilities` to `path`, a `.npy` in float16, band by band.

    One band at a time is held in memory, of every head and plane. The file is whole or absent; a band writes pieces of
    rows, so that with the plan's axes turned it still writes runs rather than single values. Raises `JobError` when
    the disk has no room for it.
    """
    shape = _whole_shape(maps, plan)
    depth, _, columns = maps[0].record.shape_after_cropping
    per_row = row_bytes(maps, BLENDED * len(maps), place) + HALF * shape[0] * depth * columns
    with atomic_path(path) as temporary:
        _reserve(temporary, shape, path)
        if not plan.labels.has_regions:
            np.lib.format.open_memmap(temporary, "r+")[0] = 1
        for rows in row_bands(maps, per_row, place):
            band = np.empty((shape[0], depth, rows.stop - rows.start, columns), np.float16)
            for z, probabilities in enumerate(_mean_probabilities(maps, plan, rows, place)):
                band[:, z] = probabilities.half().cpu().numpy()
            # Mapped anew for each band: what a mapping has touched counts as the process' memory until it is closed.
            _inside(np.lib.format.open_memmap(temporary, "r+"), maps[0].record, plan)[:, :, rows] = band


@torch.inference_mode()
def restore_uncertainty(
    maps: Sequence[LogitMap], disagreements: Sequence[LogitMap], plan: Plan, place: Place = ON_CPU
) -> NDArray[np.float32]:
    """Return the epistemic uncertainty `(Z, Y, X)` of one case in nats: 0 outside the crop.

    `disagreements`: of the samples within each configuration, as maps of one head. By the chain rule of mutual
    information their mean and the disagreement of the configurations with each other make up the whole; the parts are
    resized, rather than probabilities of each sample, whose blending across borders would look like doubt.
    """
    uncertainty = np.empty(maps[0].record.shape_after_cropping, np.float32)
    regions = plan.labels.has_regions
    for rows in row_bands(maps, row_bytes(maps, BLENDED * len(maps), place), place):
        within = zip(*(blended_planes(entry, plan, rows, place) for entry in disagreements), strict=True)
        between = zip(*(blended_planes(entry, plan, rows, place) for entry in maps), strict=True)
        for z, (own, others) in enumerate(zip(within, between, strict=True)):
            values = torch.stack([torch.lerp(*blend) for blend in own]).mean(0)
            if len(maps) > 1:
                planes = torch.stack([_probabilities(torch.lerp(*blend), plan.labels) for blend in others])
                expected = torch.stack([entropies(plane, regions) for plane in planes]).mean(0)
                values = values + (entropies(planes.mean(0), regions) - expected).clamp_min(0)
            uncertainty[z, rows] = values[0].cpu().numpy()
    return np.ascontiguousarray(uncrop(uncertainty, maps[0].record, plan), np.float32)


def _mean_probabilities(maps: Sequence[LogitMap], plan: Plan, rows: slice, place: Place) -> Iterator[Tensor]:
    """Yield float32 probabilities (heads, rows, d2) of each output plane, averaged over the maps."""
    for blends in zip(*(blended_planes(entry, plan, rows, place) for entry in maps), strict=True):
        planes = [_probabilities(torch.lerp(low, high, weight), plan.labels) for low, high, weight in blends]
        total = planes[0]
        for other in planes[1:]:
            total.add_(other)
        yield total.div_(len(planes)) if len(planes) > 1 else total


def _probabilities(logits: Tensor, labels: LabelSet) -> Tensor:
    return logits.sigmoid_() if labels.has_regions else logits.softmax(0)


def _decoded(probabilities: Tensor, labels: LabelSet) -> Tensor:
    """Do as `LabelSet.decode` does, on the tensor's device; int64 for labels, int32 for regions."""
    if not labels.has_regions:
        return probabilities.argmax(0)
    painted = torch.zeros(probabilities.shape[1:], dtype=torch.int32, device=probabilities.device)
    for value, probability in zip(labels.regions_class_order or (), probabilities, strict=True):
        painted.masked_fill_(probability > 0.5, value)
    return painted


def _whole_shape(maps: Sequence[LogitMap], plan: Plan) -> Shape:
    before = maps[0].record.shape_before_cropping
    return (len(maps[0].logits), *(before[axis] for axis in plan.transpose_backward))


def _inside(whole: NDArray[np.floating], record: CropRecord, plan: Plan) -> NDArray[np.floating]:
    """Return the view of `(heads, Z, Y, X)` that is the crop in the plan's order of axes."""
    planned = whole.transpose(0, *(1 + axis for axis in plan.transpose_forward))
    return planned[(slice(None), *box_slices(record.box))]


def _reserve(temporary: Path, shape: Shape, path: Path) -> None:
    """Make a file of zeros that has its room on the disk: a mapping that runs out of it kills the process."""
    try:
        np.lib.format.open_memmap(temporary, "w+", np.float16, shape)
        take_room(temporary)
    except OSError as error:
        size = HALF * np.prod(shape, dtype=np.int64) / 1e9
        raise JobError(f"{path}: no room for probabilities of {shape}, {size:.2f} GB: {error}") from error
