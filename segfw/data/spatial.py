"""Rotation, scaling and shift of a patch: the rules, the draw, and reading a transformed patch from a larger array.

Index `o` of a patch of size F shows position `A (o - (F - 1) / 2) + (P - 1) / 2` of the loader patch of size P, beyond
which nothing is seen. Most patches are neither rotated nor scaled, and a rotated one sees only part of the loader
patch: only the box that is needed is read.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from segfw.core.training_settings import AugmentationSettings
from segfw.core.types import FloatArray, Shape

OUTSIDE = -1  # the label of what lies outside the image or its nonzero region
TIE = 1e-5  # shares of weight closer than this are equal


def is_dummy_2d(patch_size: Shape, settings: AugmentationSettings) -> bool:
    """Whether a 3D patch is rotated and scaled in plane only: wider than thrice its depth, unless the settings say."""
    if len(patch_size) == 2:
        return False
    return max(patch_size) / patch_size[0] > 3 if settings.dummy_2d is None else settings.dummy_2d


def largest_rotation(patch_size: Shape, settings: AugmentationSettings) -> float:
    """Return the largest rotation in degrees: 30 in 3D, 180 in plane, 15 for slices over 1.5 times as long as wide."""
    if settings.rotation_degrees is not None:
        return settings.rotation_degrees
    if len(patch_size) == 2:
        return 15.0 if max(patch_size) / min(patch_size) > 1.5 else 180.0
    return 180.0 if is_dummy_2d(patch_size, settings) else 30.0


def loader_patch_size(patch_size: Shape, settings: AugmentationSettings) -> Shape:
    """Return the extent that a patch may be drawn from, nnU-Net's rule: its box when rotated most, divided by 0.85."""
    if not (settings.rotation_probability > 0 or settings.scaling_probability > 0):
        return patch_size
    angle = (
        math.radians(min(90.0, largest_rotation(patch_size, settings))) if settings.rotation_probability > 0 else 0.0
    )
    c, s = math.cos(angle), math.sin(angle)
    if len(patch_size) == 2:
        a, b = patch_size
        corners: list[tuple[float, ...]] = [(a, b), (a * c + b * s, -a * s + b * c)]
    else:
        a, b, g = patch_size
        corners = [
            (a, b, g),
            (a, b * c + g * s, -b * s + g * c),
            (a * c - g * s, b, a * s + g * c),
            (a * c + b * s, -a * s + b * c, g),
        ]
    size = [int(max(abs(x) for x in axis) / 0.85) for axis in zip(*corners, strict=True)]
    return (patch_size[0], *size[1:]) if is_dummy_2d(patch_size, settings) else tuple(size)


@dataclass(frozen=True, eq=False)
class SpatialDraw:
    """What was drawn for one patch.

    `matrix`: A of the module's formula over the last 2 or 3 axes, None where the patch is neither rotated nor scaled.
    `shift`: voxels, one per axis.
    """

    matrix: FloatArray | None
    shift: Shape


def draw_spatial(rng: np.random.Generator, patch_size: Shape, settings: AugmentationSettings) -> SpatialDraw:
    """Draw a patch's transform; the same number of random numbers is used whatever comes out."""
    ndim = len(patch_size)
    rotates, scales, shifts, scale_share, *rest = rng.random(4 + 3 + ndim)
    shift = (0,) * ndim
    if shifts < settings.shift_probability:
        shift = tuple(round((2 * u - 1) * settings.shift_range * n) for u, n in zip(rest[3:], patch_size, strict=True))
    in_plane = ndim == 2 or is_dummy_2d(patch_size, settings)
    matrix: FloatArray = np.eye(2 if in_plane else 3)
    rotates, scales = rotates < settings.rotation_probability, scales < settings.scaling_probability
    if rotates:
        largest = math.radians(largest_rotation(patch_size, settings))
        angles = [(2 * u - 1) * largest for u in rest[:3]]
        matrix = rotation_2d(angles[0]) if in_plane else rotation_3d(*angles)
    if scales:
        low, high = settings.scaling_range
        matrix = matrix * (low + scale_share * (high - low))
    return SpatialDraw(matrix if rotates or scales else None, shift)


def rotation_2d(angle: float) -> FloatArray:
    """Return the matrix of a rotation in plane, radians."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s], [s, c]])


def rotation_3d(x: float, y: float, z: float) -> FloatArray:
    """Return Rz Ry Rx, radians; Rx turns axes (1, 2), Ry (0, 2), Rz (0, 1)."""
    (cx, cy, cz), (sx, sy, sz) = np.cos([x, y, z]), np.sin([x, y, z])
    rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    turned: FloatArray = rz @ ry @ rx
    return turned


def crop(array: NDArray[Any], start: Sequence[int], size: Sequence[int], fill: float) -> NDArray[Any]:
    """Copy a box of the last axes; `start` may be negative and the box may stick out: `fill` goes there."""
    spatial = array.shape[array.ndim - len(size) :]
    low = [min(max(0, a), n) for a, n in zip(start, spatial, strict=True)]
    high = [max(lo, min(n, a + b)) for a, b, n, lo in zip(start, size, spatial, low, strict=True)]
    box: tuple[Any, ...] = (..., *map(slice, low, high))
    inside = array[box]
    if inside.shape[inside.ndim - len(size) :] == tuple(size):
        return np.array(inside)
    out = np.full((*array.shape[: array.ndim - len(size)], *size), fill, array.dtype)
    target: list[Any] = [slice(lo - a, hi - a) for a, lo, hi in zip(start, low, high, strict=True)]
    out[(..., *target)] = inside
    return out


def read_patch(
    image: NDArray[np.float32],
    label: NDArray[np.integer],
    start: Sequence[int],
    sizes: tuple[Shape, Shape],
    draw: SpatialDraw,
) -> tuple[Tensor, Tensor]:
    """Read a transformed patch: image (C, *F) float32 and label (1, *F) int16.

    `start`: where the loader patch begins in the arrays' spatial axes; `sizes`: (F, P). Outside, the image is 0 and
    the label -1.
    """
    size, loader_size = sizes
    begin = [a + b for a, b in zip(start, draw.shift, strict=True)]
    if draw.matrix is None:
        begin = [a + p // 2 - f // 2 for a, p, f in zip(begin, loader_size, size, strict=True)]
        return (
            torch.from_numpy(crop(image, begin, size, 0.0)),
            torch.from_numpy(crop(label, begin, size, OUTSIDE).astype(np.int16)),
        )
    # Axes that the matrix leaves alone (the depth of in-plane transforms) are cut to size first and ride along.
    rigid = len(size) - len(draw.matrix)
    positions = sample_positions(draw.matrix, size[rigid:], loader_size[rigid:])
    low, high = [], []
    for axis, p in enumerate(positions, start=rigid):
        first, last = int(p.min().floor()), int(p.max().floor()) + 1
        low.append(max(first, 0, -begin[axis]))
        high.append(max(low[-1], min(last + 1, loader_size[axis], image.shape[1 + axis] - begin[axis])))
    box_start = [*begin[:rigid], *(begin[rigid + i] + a for i, a in enumerate(low))]
    box_size = [*size[:rigid], *(b - a for a, b in zip(low, high, strict=True))]
    positions = [p - a for p, a in zip(positions, low, strict=True)]
    image_box = torch.from_numpy(crop(image, box_start, box_size, 0.0))
    label_box = torch.from_numpy(crop(label, box_start, box_size, OUTSIDE))
    cells = find_cells(positions, tuple(box_size[rigid:]))
    return sample_image(image_box, positions, cells), sample_label(label_box, positions, cells).to(torch.int16)


def sample_positions(matrix: FloatArray, size: Shape, loader_size: Shape) -> list[Tensor]:
    """Return, per axis, the position in the loader patch that each voxel of the patch (`size`) shows."""
    ndim = len(size)
    offsets = [
        (torch.arange(n, dtype=torch.float32) - (n - 1) / 2).reshape([-1 if i == j else 1 for j in range(ndim)])
        for i, n in enumerate(size)
    ]
    positions = []
    for row, extent in zip(matrix.tolist(), loader_size, strict=True):
        position = offsets[0] * row[0] + (extent - 1) / 2
        for factor, offset in zip(row[1:], offsets[1:], strict=True):
            position = position + factor * offset
        positions.append(position)
    return positions


@dataclass(frozen=True, eq=False)
class Cells:
    """Between which voxels each position lies, in an array padded by one voxel before and two after each axis.

    `index` (V,): flat index of the lower neighbor along all axes; the upper one along axis i lies `strides[i]` further,
    and weighs `fractions[i]` (V,). Positions further outside than one voxel lie in cells of nothing but padding.
    """

    index: Tensor
    fractions: list[Tensor]
    strides: list[int]


def find_cells(positions: Sequence[Tensor], box: Shape) -> Cells:
    """Find the cells of `positions` (one tensor per axis of the box) in an array of shape `box`, padded."""
    strides = [math.prod(n + 3 for n in box[axis + 1 :]) for axis in range(len(box))]
    index = torch.full((positions[0].numel(),), sum(strides), dtype=torch.int32, device=positions[0].device)
    fractions = []
    for position, n, stride in zip(positions, box, strides, strict=True):
        inside = position.clamp(-1, n).reshape(-1)
        lower = inside.floor()
        index.add_(lower.to(torch.int32), alpha=stride)
        fractions.append(inside.sub_(lower))
    return Cells(index, fractions, strides)


def sample_image(image: Tensor, positions: Sequence[Tensor], cells: Cells | None = None) -> Tensor:
    """Interpolate `image` (..., *box) linearly at `positions`, one tensor of shape F per axis of the box; 0 outside.

    `cells`: those of the positions, where they are known. On a CPU torch's own sampling of volumes is three times as
    slow as gathering and mixing the eight neighbors; that of planes is not.
    """
    ndim, shape = len(positions), positions[0].shape
    box = image.shape[-ndim:]
    leading = image.shape[:-ndim]
    if 0 in box:
        return image.new_zeros(*leading, *shape)
    if ndim == 3 and image.device.type == "cpu":
        padded = functional.pad(image, (1, 2) * ndim).flatten(-ndim)
        cells = cells or find_cells(positions, box)
        planes = [_mix(plane, cells, 0, 0) for plane in padded.reshape(-1, padded.shape[-1])]
        return torch.stack(planes).reshape(*leading, *shape)
    # grid_sample counts from -1 to 1 over the voxels' outer faces and wants the last axis first.
    grid = torch.stack(list(positions)[::-1], -1)
    extent = torch.tensor(box[::-1], dtype=torch.float32)
    grid.mul_((2 / extent).to(grid.device)).add_((1 / extent - 1).to(grid.device))
    sampled = functional.grid_sample(image.reshape(1, -1, *box), grid[None], padding_mode="zeros", align_corners=False)
    return sampled.reshape(*leading, *shape)


def _mix(plane: Tensor, cells: Cells, axis: int, offset: int) -> Tensor:
    """Interpolate a flat padded array along `axis` and those after it, at an `offset` from the cells' lower corner."""
    if axis == len(cells.strides):
        return plane[offset:].index_select(0, cells.index)
    lower = _mix(plane, cells, axis + 1, offset)
    return lower.lerp_(_mix(plane, cells, axis + 1, offset + cells.strides[axis]), cells.fractions[axis])


def sample_label(label: Tensor, positions: Sequence[Tensor], cells: Cells | None = None) -> Tensor:
    """Take at each position the label with the largest share of linear weight; outside counts as -1.

    Ties go to the nearest voxel's label, else to the smallest. Equal to interpolating each label's indicator, at a cost
    that does not grow with the number of labels: there is a vote only where the 4 or 8 neighbors differ.
    """
    ndim, shape = len(positions), positions[0].shape
    leading, box = label.shape[:-ndim], label.shape[-ndim:]
    cells = cells or find_cells(positions, box)
    values = functional.pad(label, (1, 2) * ndim, value=OUTSIDE).flatten(-ndim).reshape(leading.numel(), -1)
    out = values.index_select(1, cells.index)
    mixed = _mixed_cells(values, cells.strides)
    planes, voxels = mixed.index_select(1, cells.index).nonzero(as_tuple=True)
    if len(voxels):
        corners = [0]
        for stride in cells.strides:
            corners = [*corners, *(corner + stride for corner in corners)]
        first = cells.index[voxels] + planes * values.shape[1]
        found = values.reshape(-1).index_select(0, (first + first.new_tensor(corners)[:, None]).reshape(-1))
        winners = _vote(found.reshape(len(corners), -1), [fraction[voxels] for fraction in cells.fractions])
        out[planes, voxels] = winners
    return out.reshape(*leading, *shape)


def _mixed_cells(values: Tensor, strides: Sequence[int]) -> Tensor:
    """Whether each voxel of flat arrays (K, n) and its upper neighbors along all axes hold several labels.

    Shorter than the arrays by the far corner's distance: no cell begins there. Cells that begin in the last voxel of an
    axis reach into the next line, but nothing lies in them.
    """
    low, high = values, values
    for stride in strides:
        n = low.shape[1] - stride
        low = torch.minimum(low[:, :n], low[:, stride:])
        high = torch.maximum(high[:, :n], high[:, stride:])
    return low != high


def _vote(labels: Tensor, fractions: Sequence[Tensor]) -> Tensor:
    """Return the winner among `labels` (2**ndim, M); bit i of a row's number: the upper neighbor along axis i."""
    low, high = labels.amin(0), labels.amax(0)
    is_high = labels == high
    share = is_high.to(torch.float32)
    for fraction in reversed(fractions):
        lower, upper = share.chunk(2)
        share = lower.lerp(upper, fraction)
    winner = torch.where(share[0] > 0.5, high, low)
    tied = ((share[0] - 0.5).abs_() < TIE).nonzero()[:, 0]
    if len(tied):
        winner[tied] = labels[_nearest([fraction[tied] for fraction in fractions]), tied]
    several = (~is_high & (labels != low)).any(0).nonzero()[:, 0]  # few: most borders have two sides
    if len(several):
        winner[several] = _vote_among_several(labels[:, several], [fraction[several] for fraction in fractions])
    return winner


def _nearest(fractions: Sequence[Tensor]) -> Tensor:
    return torch.stack([(fraction > 0.5).to(torch.int64) << bit for bit, fraction in enumerate(fractions)]).sum(0)


def _vote_among_several(labels: Tensor, fractions: Sequence[Tensor]) -> Tensor:
    weights = torch.ones(1, labels.shape[1])
    for fraction in fractions:
        weights = torch.cat([weights * (1 - fraction), weights * fraction])
    scores = torch.stack([(weights * (labels == row)).sum(0) for row in labels])
    tied = scores >= scores.amax(0) - TIE
    smallest = torch.where(tied, labels, torch.iinfo(labels.dtype).max).amin(0)
    nearest = _nearest(fractions)[None]
    return torch.where(tied.gather(0, nearest)[0], labels.gather(0, nearest)[0], smallest)
