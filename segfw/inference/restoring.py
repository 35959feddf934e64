"""From logits on the network's grid to a segmentation on the image's own: the inverse of preprocessing.

Nothing of size heads x volume is made on the image's grid (unless probabilities are asked for). Rows are worked through
in bands; within one, each source plane is resized in plane once, and an output plane is the blend of its two neighbors:

    source planes      k          k+1
                       |---- z ----|        blend per head, keep the best head so far (the first maximum wins)

Interpolation in float32; nnU-Net's is float64 rounded to float16, so only voxels whose two best heads all but tie can
differ. Linear interpolation between samples and at the edge never leaves the input's range: the clipping of the rule
has nothing to do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segfw.core.axis_operators import linear_axis, nearest_indices
from segfw.core.errors import UsageError
from segfw.core.labels import LabelSet
from segfw.core.plan import Configuration, Plan
from segfw.core.preprocessing import CropRecord, configuration_spacing, uncrop
from segfw.core.resampling import separate_axis
from segfw.core.types import IntArray, Shape
from segfw.inference.uncertainty import entropies

BAND_BYTES = 48 * 2**20
MIN_BAND_ROWS = 8


@dataclass(frozen=True, eq=False)
class LogitMap:
    """Logits `(heads, d0, d1, d2)` of a case as `configuration` sees it, and what leads back to the image."""

    logits: Tensor
    record: CropRecord
    configuration: Configuration


def restore_segmentation(
    logits: Tensor | NDArray[np.floating], record: CropRecord, plan: Plan, configuration: Configuration
) -> IntArray:
    """Return the label map `(Z, Y, X)` for logits `(heads, d0, d1, d2)`; background outside the crop."""
    return restore_ensemble([LogitMap(torch.as_tensor(logits), record, configuration)], plan)


def segment_for_next_stage(
    logits: Tensor | NDArray[np.floating], record: CropRecord, plan: Plan, configuration: Configuration, shape: Shape
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
    segmentation = restore_segmentation(logits, grid, plan, configuration)
    return np.ascontiguousarray(segmentation.transpose(plan.transpose_forward))


def restore_probabilities(
    logits: Tensor | NDArray[np.floating], record: CropRecord, plan: Plan, configuration: Configuration
) -> NDArray[np.float32]:
    """Return float32 probabilities `(heads, Z, Y, X)`, all in memory; outside the crop background is certain."""
    return restore_ensemble_probabilities([LogitMap(torch.as_tensor(logits), record, configuration)], plan)


@torch.inference_mode()
def restore_ensemble(maps: Sequence[LogitMap], plan: Plan) -> IntArray:
    """Return the label map `(Z, Y, X)` of one case from the logits of one or several configurations.

    Several are averaged as probabilities on the image's grid (folds of one configuration are to be averaged before, as
    logits).
    """
    labels, shape = plan.labels, maps[0].record.shape_after_cropping
    dtype = np.uint8 if max(labels.all_values) < 255 else np.uint16
    segmentation = np.empty(shape, dtype)
    fused = len(maps) == 1 and not labels.has_regions
    for rows in _bands(maps, 2 if fused else 5 * len(maps)):
        if fused:
            for z, best in enumerate(_best_heads(_blends(maps[0], plan, rows))):
                segmentation[z, rows] = best.cpu().numpy()
        else:
            for z, probabilities in enumerate(_mean_probabilities(maps, plan, rows)):
                segmentation[z, rows] = labels.decode(probabilities.cpu().numpy())
    return np.ascontiguousarray(uncrop(segmentation, maps[0].record, plan), dtype)


@torch.inference_mode()
def restore_ensemble_probabilities(maps: Sequence[LogitMap], plan: Plan) -> NDArray[np.float32]:
    """Return the mean probabilities `(heads, Z, Y, X)` of one case, float32, all in memory.

    Outside the crop the first label (background) is 1 and all else 0; regions are 0 there.
    """
    record, num_heads = maps[0].record, len(maps[0].logits)
    cropped = np.empty((num_heads, *record.shape_after_cropping), np.float32)
    for rows in _bands(maps, 5 * len(maps)):
        for z, probabilities in enumerate(_mean_probabilities(maps, plan, rows)):
            cropped[:, z, rows] = probabilities.cpu().numpy()
    whole = np.stack([uncrop(cropped[head], record, plan) for head in range(num_heads)])
    if not plan.labels.has_regions:
        whole[0][uncrop(np.ones(record.shape_after_cropping, np.bool_), record, plan) == 0] = 1
    return whole


@torch.inference_mode()
def restore_uncertainty(maps: Sequence[LogitMap], disagreements: Sequence[LogitMap], plan: Plan) -> NDArray[np.float32]:
    """Return the epistemic uncertainty `(Z, Y, X)` of one case in nats: 0 outside the crop.

    `disagreements`: of the samples within each configuration, as maps of one head. By the chain rule of mutual
    information their mean and the disagreement of the configurations with each other make up the whole; the parts are
    resized, rather than probabilities of each sample, whose blending across borders would look like doubt.
    """
    uncertainty = np.empty(maps[0].record.shape_after_cropping, np.float32)
    regions = plan.labels.has_regions
    for rows in _bands(maps, 5 * len(maps)):
        within = zip(*(_blends(entry, plan, rows) for entry in disagreements), strict=True)
        between = zip(*(_blends(entry, plan, rows) for entry in maps), strict=True)
        for z, (own, others) in enumerate(zip(within, between, strict=True)):
            values = torch.stack([torch.lerp(*blend) for blend in own]).mean(0)
            if len(maps) > 1:
                planes = torch.stack([_probabilities(torch.lerp(*blend), plan.labels) for blend in others])
                expected = torch.stack([entropies(plane, regions) for plane in planes]).mean(0)
                values = values + (entropies(planes.mean(0), regions) - expected).clamp_min(0)
            uncertainty[z, rows] = values[0].cpu().numpy()
    return np.ascontiguousarray(uncrop(uncertainty, maps[0].record, plan), np.float32)


class _Axis(NamedTuple):
    """Source samples of each output sample on one axis, and the weight of `high` (None: `low` alone counts)."""

    low: Tensor
    high: Tensor
    weight: Tensor | None


class _Blend(NamedTuple):
    """Rows of an output plane: `low + weight * (high - low)`, each `(heads, rows, d2)`.

    Overwritten when the next is asked for.
    """

    low: Tensor
    high: Tensor
    weight: float


def _bands(maps: Sequence[LogitMap], planes: int) -> list[slice]:
    """Divide the output's rows so that `planes` float32 arrays of (heads, rows, d2) fit into the budget."""
    _, rows, columns = maps[0].record.shape_after_cropping
    size = max(MIN_BAND_ROWS, BAND_BYTES // (4 * planes * len(maps[0].logits) * columns))
    count = -(-rows // size)
    edges = [round(i * rows / count) for i in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _axes(logit_map: LogitMap, plan: Plan) -> tuple[_Axis, _Axis, _Axis]:
    """Decide how each axis is resized: linearly, or along a coarse one (`separate_axis`) to the nearest sample."""
    record, resampling = logit_map.record, logit_map.configuration.resampling
    spacing = configuration_spacing(logit_map.configuration, record.spacing, plan.transpose_forward)
    new_spacing = tuple(record.spacing[axis] for axis in plan.transpose_forward)
    apart = separate_axis(spacing, new_spacing, resampling.force_separate_z)
    orders = [resampling.order_z if axis == apart else resampling.order_probabilities for axis in range(3)]
    device = logit_map.logits.device
    sizes = zip(logit_map.logits.shape[1:], record.shape_after_cropping, orders, strict=True)
    first, second, third = (_axis(n_in, n_out, order, device) for n_in, n_out, order in sizes)
    return first, second, third


def _axis(n_in: int, n_out: int, order: int, device: torch.device) -> _Axis:
    if order not in (0, 1):
        raise UsageError(f"probabilities can be resampled with order 0 or 1, got {order} (resampling of the plan)")
    if order == 0 or n_in == n_out:
        index = torch.from_numpy(np.arange(n_out) if n_in == n_out else nearest_indices(n_in, n_out)).to(device)
        return _Axis(index, index, None)
    linear = linear_axis(n_in, n_out)
    return _Axis(
        torch.from_numpy(linear.low).to(device),
        torch.from_numpy(linear.high).to(device),
        torch.from_numpy(linear.high_weight.astype(np.float32)).to(device),
    )


def _blends(logit_map: LogitMap, plan: Plan, rows: slice) -> Iterator[_Blend]:
    """Yield the given rows of each output plane in order."""
    across, down, along = _axes(logit_map, plan)
    resizer = _PlaneResizer(
        logit_map.logits,
        _Axis(down.low[rows], down.high[rows], None if down.weight is None else down.weight[rows]),
        along,
    )
    planes = logit_map.logits.new_empty(
        2, len(logit_map.logits), rows.stop - rows.start, len(along.low), dtype=torch.float32
    )
    held = [-1, -1]
    low, high = across.low.tolist(), across.high.tolist()
    weights = [0.0] * len(low) if across.weight is None else across.weight.tolist()
    for below, above, weight in zip(low, high, weights, strict=True):
        for index in (below, above):
            if held[index % 2] != index:  # neighbors differ by one at most, so they never share a buffer
                resizer.resize(index, planes[index % 2])
                held[index % 2] = index
        yield _Blend(planes[below % 2], planes[above % 2], weight if above != below else 0.0)


class _PlaneResizer:
    """Resizes planes of logits, head by head, in scratch memory of its own: allocating costs more than the sums."""

    def __init__(self, logits: Tensor, down: _Axis, along: _Axis) -> None:
        self._logits = logits
        first, last = int(down.low.min()), int(down.high.max())
        self._source = slice(first, last + 1)
        self._down = _Axis(down.low - first, down.high - first, None if down.weight is None else down.weight[:, None])
        self._along = along
        width, new_width = logits.shape[3], len(along.low)
        self._single = logits.new_empty(last + 1 - first, width, dtype=torch.float32)
        self._rows = logits.new_empty(2, len(down.low), width, dtype=torch.float32)
        self._columns = logits.new_empty(len(down.low), new_width, dtype=torch.float32)
        self._rows_stay = down.weight is None and self._down.low.tolist() == list(range(len(self._single)))
        self._columns_stay = along.weight is None and along.low.tolist() == list(range(width))

    def resize(self, index: int, out: Tensor) -> None:
        """Write source plane `index` of every head to `out` `(heads, rows, d2)`."""
        for head, resized in enumerate(out):
            source = self._logits[head, index, self._source]
            if self._rows_stay and self._columns_stay:
                resized.copy_(source)
                continue
            plane = self._single.copy_(source)
            if not self._rows_stay:
                plane = _interpolate(plane, 0, self._down, self._rows[0], self._rows[1])
            if self._columns_stay:
                resized.copy_(plane)
            else:
                _interpolate(plane, 1, self._along, resized, self._columns)


def _interpolate(plane: Tensor, dim: int, axis: _Axis, out: Tensor, scratch: Tensor) -> Tensor:
    torch.index_select(plane, dim, axis.low, out=out)
    if axis.weight is None:
        return out
    torch.index_select(plane, dim, axis.high, out=scratch)
    return torch.lerp(out, scratch, axis.weight, out=out)


def _best_heads(blends: Iterator[_Blend]) -> Iterator[Tensor]:
    """Yield for each plane the head of the largest value, the first among equals.

    Overwritten when the next is asked for.
    """
    best = value = found = heads = torch.empty(0)
    for low, high, weight in blends:
        if not heads.numel():
            best, value = torch.empty_like(low[0]), torch.empty_like(low[0])
            found = torch.empty_like(low[0], dtype=torch.bool)
            heads = torch.empty_like(low[0], dtype=torch.uint8 if len(low) <= 256 else torch.int32)
        torch.lerp(low[0], high[0], weight, out=best)
        heads.zero_()
        for head in range(1, len(low)):
            candidate = torch.lerp(low[head], high[head], weight, out=value) if weight else low[head]
            torch.gt(candidate, best, out=found)
            torch.maximum(best, candidate, out=best)
            numbered = found.view(torch.uint8).mul_(head) if heads.dtype == torch.uint8 else found.int().mul_(head)
            torch.maximum(heads, numbered, out=heads)
        yield heads


def _mean_probabilities(maps: Sequence[LogitMap], plan: Plan, rows: slice) -> Iterator[Tensor]:
    """Yield float32 probabilities (heads, rows, d2) of each output plane, averaged over the maps."""
    for blends in zip(*(_blends(entry, plan, rows) for entry in maps), strict=True):
        planes = [_probabilities(torch.lerp(low, high, weight), plan.labels) for low, high, weight in blends]
        total = planes[0]
        for other in planes[1:]:
            total.add_(other)
        yield total.div_(len(planes)) if len(planes) > 1 else total


def _probabilities(logits: Tensor, labels: LabelSet) -> Tensor:
    return logits.sigmoid_() if labels.has_regions else logits.softmax(0)
