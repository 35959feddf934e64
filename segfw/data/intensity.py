"""What intensity transforms do to planes: `(N, *F)` float32, each row one channel of one sample with its own parameter.

Pure functions of their arguments, the same on every device. What is drawn and how often: `segfw.data.augmentation`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from segfw.core.types import FloatArray

TINY = 1e-7
MOST_BOXES = 5


def add_noise(planes: Tensor, sigma: Tensor, seeds: Sequence[int]) -> Tensor:
    """Add independent Gaussian noise of standard deviation `sigma` (N,), from one generator per row."""
    noise = torch.empty_like(planes)
    for row, seed in zip(noise, seeds, strict=True):
        row.normal_(generator=torch.Generator(planes.device).manual_seed(int(seed)))
    return planes + noise * _per_row(sigma, planes)


def blur_kernel(sigma: FloatArray) -> FloatArray:
    """Return one half of each normalized Gaussian kernel: (..., R + 1), the center first.

    A kernel has 3 taps below sigma 7/12 voxels, 5 below 11/12, 7 above; taps beyond its length are 0.
    """
    radius = np.maximum(1, np.rint(6 * sigma).astype(np.int64) // 2)
    x = np.arange(radius.max(initial=1) + 1)
    weights = np.exp(-(x**2) / (2 * sigma[..., None] ** 2)) * (x <= radius[..., None])
    return np.asarray(weights / (weights[..., :1] + 2 * weights[..., 1:].sum(-1, keepdims=True)), np.float32)


def blur(planes: Tensor, sigma: FloatArray) -> Tensor:
    """Blur with a Gaussian of `sigma` (N, ndim) voxels; separable, reflected at the border.

    Shifted additions: on a CPU five times as fast as convolutions with one channel.
    """
    for axis in range(sigma.shape[1]):
        kernel = _to_device(blur_kernel(sigma[:, axis]), planes)
        radius, n, dim = kernel.shape[1] - 1, planes.shape[1 + axis], 1 + axis
        padded = planes.index_select(dim, _to_device(_reflected(n, radius), planes))
        planes = padded.narrow(dim, radius, n) * _per_row(kernel[:, 0], planes)
        for step in range(1, radius + 1):
            both = padded.narrow(dim, radius - step, n) + padded.narrow(dim, radius + step, n)
            planes.addcmul_(both, _per_row(kernel[:, step], planes))
    return planes


def scale_brightness(planes: Tensor, factor: Tensor) -> Tensor:
    """Multiply each row by its `factor` (N,)."""
    return planes * _per_row(factor, planes)


def add_offset(planes: Tensor, offset: Tensor) -> Tensor:
    """Add to each row its `offset` (N,)."""
    return planes + _per_row(offset, planes)


def scale_contrast(planes: Tensor, factor: Tensor) -> Tensor:
    """Stretch each row about its mean by `factor` (N,), clamped to the range that it had."""
    low, high = _range(planes)
    mean = _per_row(planes.flatten(1).mean(1), planes)
    return torch.clamp((planes - mean) * _per_row(factor, planes) + mean, low, high)


def lower_resolution(planes: Tensor, zoom: Sequence[float], keep_first_axis: bool) -> Tensor:
    """Shrink each row by its `zoom` to the nearest voxels and enlarge it linearly; the first axis can be left alone."""
    shape = planes.shape[1:]
    mode = {2: "bilinear", 3: "trilinear"}[len(shape)]
    rows = []
    for row, z in zip(planes, zoom, strict=True):
        small = [max(1, round(n * z)) for n in shape]
        small = [shape[0], *small[1:]] if keep_first_axis else small
        low = functional.interpolate(row[None, None], small, mode="nearest-exact")
        rows.append(functional.interpolate(low, shape, mode=mode, align_corners=False)[0, 0])
    return torch.stack(rows)


def change_gamma(planes: Tensor, exponent: Tensor) -> Tensor:
    """Raise each row's share of its range to `exponent` (N,), then give it back its mean and standard deviation."""
    flat = planes.flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    # Rescaling to the old range would be undone by rescaling to the old mean and deviation.
    changed = ((flat - low) / (high - low).clamp_(min=TINY)).pow_(exponent[:, None])
    mean, mean_now = flat.mean(1, keepdim=True), changed.mean(1, keepdim=True)
    changed.sub_(mean_now)
    ratio = _norm(flat - mean) / _norm(changed).clamp_(min=TINY)
    return torch.addcmul(mean, changed, ratio).reshape(planes.shape)


def add_gradient(planes: Tensor, values: FloatArray) -> Tensor:
    """Add to each row a Gaussian bump, at its highest in the patch as high as the row's height says.

    `values` (N, 1 + 2 * ndim): height in units of intensity, then per axis the center, 0 and 1 standing for half a
    patch before and behind the patch, and per axis the sigma, from a sixth of the axis to all of it on a logarithmic
    scale. nnU-Net's brightness gradient.
    """
    bump = None
    ndim = planes.ndim - 1
    for axis, n in enumerate(planes.shape[1:]):
        center, share = values[:, 1 + axis, None], values[:, 1 + ndim + axis, None]
        sigma = max(1.0, n / 6) * (n / max(1.0, n / 6)) ** share
        line = np.exp(-((np.arange(n) - (2 * center - 0.5) * n) ** 2) / (2 * sigma**2))
        line = line / line.max(1, keepdims=True)
        shape = [len(line), *(n if other == axis else 1 for other in range(ndim))]
        factor = _to_device(line.astype(np.float32), planes).reshape(shape)
        bump = factor if bump is None else bump * factor
    return planes if bump is None else torch.addcmul(planes, bump, _per_row(_to_device(values[:, 0], planes), planes))


def sharpen(planes: Tensor, strength: Tensor) -> Tensor:
    """Add to each row `strength` (N,) times what a Gaussian blur of one voxel would take from it."""
    smooth = blur(planes, np.ones((len(planes), planes.ndim - 1)))
    return torch.addcmul(planes, planes - smooth, _per_row(strength, planes))


def blank_boxes(planes: Tensor, values: FloatArray, edges: tuple[float, float]) -> Tensor:
    """Set boxes of each row to the row's mean; their edges are `edges` of the patch's, at least a voxel.

    `values` (N, 1 + MOST_BOXES * 2 * ndim), all shares: the number of boxes, then extent and place per box and axis.
    Cutting out keeps a network from leaning on single spots (DeVries and Taylor, arXiv:1708.04552).
    """
    rows, shape = len(planes), planes.shape[1:]
    number = 1 + (values[:, 0] * MOST_BOXES).astype(np.int64).clip(max=MOST_BOXES - 1)
    shares = values[:, 1:].reshape(rows, MOST_BOXES, 2, len(shape))
    inside = torch.zeros(planes.shape, dtype=torch.bool, device=planes.device)
    for box in range(MOST_BOXES):
        covered = _to_device(number > box, planes).reshape(-1, *(1,) * len(shape))
        for axis, n in enumerate(shape):
            extent = np.rint((edges[0] + shares[:, box, 0, axis] * (edges[1] - edges[0])) * n).clip(1, n)
            first = np.floor(shares[:, box, 1, axis] * (n - extent + 1)).clip(0, n - extent)
            position = np.arange(n)
            line = (position >= first[:, None]) & (position < (first + extent)[:, None])
            covered = covered & _to_device(line, planes).reshape(
                rows, *(n if other == axis else 1 for other in range(len(shape)))
            )
        inside |= covered
    return torch.where(inside, _per_row(planes.flatten(1).mean(1), planes), planes)


def _to_device(array: NDArray[np.generic], like: Tensor) -> Tensor:
    return torch.from_numpy(array).to(like.device, non_blocking=True)


def _norm(rows: Tensor) -> Tensor:
    """Return each row's length (N, 1): of centered ones a multiple of the deviation, several times as fast on a CPU."""
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return lengths


def _per_row(values: Tensor, planes: Tensor) -> Tensor:
    return values.reshape(-1, *(1,) * (planes.ndim - 1))


def _range(planes: Tensor) -> tuple[Tensor, Tensor]:
    flat = planes.flatten(1)
    return _per_row(flat.amin(1), planes), _per_row(flat.amax(1), planes)


def _reflected(n: int, radius: int) -> NDArray[np.int64]:
    """Return the source index of each voxel of an axis padded by `radius`, reflected without repeating the border."""
    period = max(1, 2 * (n - 1))
    index: NDArray[np.int64] = np.abs(np.arange(-radius, n + radius)) % period
    return np.minimum(index, period - index) if n > 1 else index
