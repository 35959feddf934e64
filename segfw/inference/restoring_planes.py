"""Planes of logits resized to an image's grid, one after another, in bands of rows.

Each source plane is resized in plane once per band, and an output plane is the blend of its two neighbors:

    source planes      k          k+1
                       |---- z ----|        low + weight * (high - low), per head

On the CPU one head is resized at a time, in scratch memory that stays in its cache; a device takes all heads at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from segfw.core.errors import UsageError
from segfw.core.imaging.axis_operators import linear_axis, nearest_indices
from segfw.core.imaging.preprocessing import CropRecord, configuration_spacing
from segfw.core.imaging.resampling import separate_axis
from segfw.core.plan import Configuration, Plan

BAND_BYTES = 48 * 2**20
MIN_BAND_ROWS = 8
FLOAT = 4
CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class LogitMap:
    """Logits `(heads, d0, d1, d2)` of a case as `configuration` sees it, and what leads back to the image."""

    logits: Tensor
    record: CropRecord
    configuration: Configuration


@dataclass(frozen=True)
class Place:
    """Where logits are resized: on which device, in bands of how many bytes; `heads_at_once`: None for all."""

    device: torch.device = CPU
    band_bytes: int = BAND_BYTES
    heads_at_once: int | None = 1

    def __str__(self) -> str:
        """Name it for a log line."""
        return f"bands of {self.band_bytes / 1e6:.0f} MB on {self.device.type}"


ON_CPU = Place()


class Blend(NamedTuple):
    """Rows of an output plane: `low + weight * (high - low)`, each `(heads, rows, d2)`.

    Overwritten when the next is asked for.
    """

    low: Tensor
    high: Tensor
    weight: float


class _Axis(NamedTuple):
    """Source samples of each output sample on one axis, and the weight of `high` (None: `low` alone counts)."""

    low: Tensor
    high: Tensor
    weight: Tensor | None


def row_bands(maps: Sequence[LogitMap], row_bytes: int, place: Place) -> list[slice]:
    """Divide the output's rows into bands of about equal height that, at `row_bytes` per row, fit into the place's."""
    rows = maps[0].record.shape_after_cropping[1]
    size = max(MIN_BAND_ROWS, place.band_bytes // row_bytes)
    count = -(-rows // size)
    edges = [round(i * rows / count) for i in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def row_bytes(maps: Sequence[LogitMap], planes: int, place: Place) -> int:
    """Return what a row takes while maps are resized: `planes` float32 arrays of (heads, 1, d2), scratch besides.

    Scratch counts where all heads are resized at once: three source planes and one resized.
    """
    heads, columns = len(maps[0].logits), maps[0].record.shape_after_cropping[2]
    output = planes * columns
    if place.heads_at_once is None:
        rows = maps[0].record.shape_after_cropping[1]
        sources = (3 * max(entry.logits.shape[2] / rows, 1) * entry.logits.shape[3] for entry in maps)
        output += columns + round(max(sources))
    return FLOAT * heads * output


def blended_planes(logit_map: LogitMap, plan: Plan, rows: slice, place: Place) -> Iterator[Blend]:
    """Yield the given rows of each output plane in order."""
    across, down, along = _axes(logit_map, plan, place.device)
    logits = logit_map.logits
    band = _Axis(down.low[rows], down.high[rows], None if down.weight is None else down.weight[rows])
    resizer = _PlaneResizer(logits, band, along, place)
    planes = torch.empty(2, len(logits), rows.stop - rows.start, len(along.low), device=place.device)
    held = [-1, -1]
    low, high = across.low.tolist(), across.high.tolist()
    weights = [0.0] * len(low) if across.weight is None else across.weight.tolist()
    for below, above, weight in zip(low, high, weights, strict=True):
        for index in (below, above):
            if held[index % 2] != index:  # neighbors differ by one at most, so they never share a buffer
                resizer.resize(index, planes[index % 2])
                held[index % 2] = index
        yield Blend(planes[below % 2], planes[above % 2], weight if above != below else 0.0)


def best_heads(blends: Iterator[Blend]) -> Iterator[Tensor]:
    """Yield for each plane the head of the largest value, the first among equals.

    Overwritten when the next is asked for.
    """
    best = value = found = heads = torch.empty(0)
    for low, high, weight in blends:
        if low.device.type != "cpu":  # few large operations there, many small ones in the CPU's cache
            yield (torch.lerp(low, high, weight) if weight else low).argmax(0)
            continue
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


def _axes(logit_map: LogitMap, plan: Plan, device: torch.device) -> tuple[_Axis, _Axis, _Axis]:
    """Decide how each axis is resized: linearly, or along a coarse one (`separate_axis`) to the nearest sample."""
    record, resampling = logit_map.record, logit_map.configuration.resampling
    spacing = configuration_spacing(logit_map.configuration, record.spacing, plan.transpose_forward)
    new_spacing = tuple(record.spacing[axis] for axis in plan.transpose_forward)
    apart = separate_axis(spacing, new_spacing, resampling.force_separate_z)
    orders = [resampling.order_z if axis == apart else resampling.order_probabilities for axis in range(3)]
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


class _PlaneResizer:
    """Resizes planes of logits, a block of heads at a time, in scratch memory: allocating costs more than the sums."""

    def __init__(self, logits: Tensor, down: _Axis, along: _Axis, place: Place) -> None:
        self._logits = logits
        self._block = place.heads_at_once or len(logits)
        first, last = int(down.low.min()), int(down.high.max())
        self._source = slice(first, last + 1)
        self._down = _Axis(down.low - first, down.high - first, None if down.weight is None else down.weight[:, None])
        self._along = along
        block, width, new_width = self._block, logits.shape[3], len(along.low)
        self._single = torch.empty(block, last + 1 - first, width, device=place.device)
        self._rows = torch.empty(2, block, len(down.low), width, device=place.device)
        self._columns = torch.empty(block, len(down.low), new_width, device=place.device)
        self._rows_stay = down.weight is None and self._down.low.tolist() == list(range(last + 1 - first))
        self._columns_stay = along.weight is None and along.low.tolist() == list(range(width))

    def resize(self, index: int, out: Tensor) -> None:
        """Write source plane `index` of every head to `out` `(heads, rows, d2)`."""
        for start in range(0, len(out), self._block):
            heads = slice(start, start + self._block)
            self._resize(self._logits[heads, index, self._source], out[heads])

    def _resize(self, source: Tensor, out: Tensor) -> None:
        count = len(out)
        if self._rows_stay and self._columns_stay:
            out.copy_(source)
            return
        planes = self._single[:count].copy_(source)
        if not self._rows_stay:
            planes = _interpolate(planes, 1, self._down, self._rows[0, :count], self._rows[1, :count])
        if self._columns_stay:
            out.copy_(planes)
        else:  # as one matrix, for which PyTorch's index_select has a way that is three times faster
            rows, columns = planes.flatten(0, 1), self._columns[:count]
            _interpolate(rows, 1, self._along, out.flatten(0, 1), columns.flatten(0, 1))


def _interpolate(planes: Tensor, dim: int, axis: _Axis, out: Tensor, scratch: Tensor) -> Tensor:
    torch.index_select(planes, dim, axis.low, out=out)
    if axis.weight is None:
        return out
    torch.index_select(planes, dim, axis.high, out=scratch)
    return torch.lerp(out, scratch, axis.weight, out=out)
