"""Resampling of images on a GPU: the matrices of `segfw.core.imaging.resampling`, multiplied there.

Prediction has the card at hand anyway. Label maps and the preprocessing of whole datasets stay on the CPU: their
workers load no PyTorch, and several of them would crowd one card.
"""

import logging
from functools import partial

import numpy as np
import torch
from torch import Tensor

from segfw.core.imaging.axis_operators import axis_operator, nearest_indices
from segfw.core.imaging.preprocessing import Resample
from segfw.core.imaging.resampling import AxisChange, GridChange, resample_channel
from segfw.core.plan import Resampling
from segfw.core.types import FloatArray, Shape, Spacing

log = logging.getLogger(__name__)


def resampling_on(device: torch.device) -> Resample:
    """Return what resamples a channel with the arithmetic of `device`; on the CPU that is `resample_channel` itself."""
    return resample_channel if device.type == "cpu" else partial(resample_channel_on, device)


@torch.inference_mode()
def resample_channel_on(
    device: torch.device,
    volume: FloatArray,
    new_shape: Shape,
    spacing: Spacing,
    new_spacing: Spacing,
    resampling: Resampling,
) -> FloatArray:
    """Do as `resample_channel` does, in float32 on `device`; where its memory does not suffice, on the CPU."""
    if volume.shape == tuple(new_shape):
        return volume
    grid = GridChange.between(volume.shape, tuple(new_shape), spacing, new_spacing, resampling)
    try:
        moved = torch.from_numpy(np.ascontiguousarray(volume, np.float32)).to(device)
        return _change_grid(moved, grid).cpu().numpy().astype(volume.dtype, copy=False)
    except torch.OutOfMemoryError:
        log.info("an image of %s does not fit into the memory of %s: resampled on the CPU", volume.shape, device)
        return resample_channel(volume, new_shape, spacing, new_spacing, resampling)


def _change_grid(volume: Tensor, grid: GridChange) -> Tensor:
    low = high = volume
    if grid.ranges_over is not None:
        low, high = volume.amin(grid.ranges_over, keepdim=True), volume.amax(grid.ranges_over, keepdim=True)
    for change in grid.changes:
        volume = _resize_axis(volume, change)
    if grid.ranges_over is not None:
        volume = volume.clamp_(low, high)
    return volume if grid.apart is None else _resize_axis(volume, grid.apart)


def _resize_axis(volume: Tensor, change: AxisChange) -> Tensor:
    n_in = volume.shape[change.axis]
    if change.order == 0:
        return volume.index_select(
            change.axis, torch.from_numpy(nearest_indices(n_in, change.extent)).to(volume.device)
        )
    matrix = torch.from_numpy(axis_operator(n_in, change.extent, change.order).astype(np.float32)).to(volume.device)
    return torch.matmul(matrix, volume.movedim(change.axis, -2)).movedim(-2, change.axis)
