"""Rotation, scaling and shift of patches: the rules, the draw, and the same arithmetic for a batch on any device.

Index `o` of a patch of size F shows position `A (o - (F - 1) / 2) + (P - 1) / 2` of the loader patch of size P, beyond
which nothing is seen. How loader patches come from the store: `segfw.data.cutting`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segfw.core.settings.training import AugmentationSettings
from segfw.core.types import FloatArray, IntArray, Shape

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
class SpatialDraws:
    """What was drawn for a batch.

    `turned` (R,): the samples that are rotated or scaled; `matrices` (R, d, d): A of the module's formula over the last
    d = 2 or 3 axes, one for each of them. `shifts` (B, ndim): voxels.
    """

    turned: IntArray
    matrices: FloatArray
    shifts: IntArray


def count_spatial(ndim: int) -> int:
    """Return how many random numbers a sample's transform takes, whatever comes out."""
    return 7 + ndim


def draw_spatial(numbers: FloatArray, patch_size: Shape, settings: AugmentationSettings) -> SpatialDraws:
    """Make transforms of random numbers (B, `count_spatial`) between 0 and 1."""
    ndim = len(patch_size)
    rotates = numbers[:, 0] < settings.rotation_probability
    scales = numbers[:, 1] < settings.scaling_probability
    shifted = numbers[:, 2:3] < settings.shift_probability
    farthest = settings.shift_range * np.array(patch_size)
    shifts = np.where(shifted, np.rint((2 * numbers[:, 7:] - 1) * farthest), 0).astype(np.int64)
    in_plane = ndim == 2 or is_dummy_2d(patch_size, settings)
    largest = math.radians(largest_rotation(patch_size, settings))
    low, high = settings.scaling_range
    turned = np.flatnonzero(rotates | scales)
    matrices = np.tile(np.eye(2 if in_plane else 3), (len(turned), 1, 1))
    for matrix, row in zip(matrices, turned, strict=True):
        if rotates[row]:
            angles = (2 * numbers[row, 4:7] - 1) * largest
            matrix[:] = rotation_2d(angles[0]) if in_plane else rotation_3d(*angles)
        if scales[row]:
            matrix *= low + numbers[row, 3] * (high - low)
    return SpatialDraws(turned, matrices, shifts)


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


def sample_positions(matrices: Tensor, size: Shape, loader_size: Shape) -> list[Tensor]:
    """Return, per axis, the position in the loader patch that each voxel of the patches shows: (R, *F).

    `matrices`: (R, d, d) float32; `size` and `loader_size` are those of the last d axes.
    """
    ndim = len(size)
    offsets = [
        (torch.arange(n, dtype=torch.float32, device=matrices.device) - (n - 1) / 2).reshape(
            [-1 if i == j else 1 for j in range(ndim)]
        )
        for i, n in enumerate(size)
    ]
    positions = []
    for axis, extent in enumerate(loader_size):
        factors = [matrices[:, axis, other].reshape(-1, *(1,) * ndim) for other in range(ndim)]
        position = offsets[0] * factors[0] + (extent - 1) / 2
        for factor, offset in zip(factors[1:], offsets[1:], strict=True):
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


def interpolate(plane: Tensor, cells: Cells, axis: int = 0, offset: int = 0) -> Tensor:
    """Interpolate a flat padded array along `axis` and those after it, at an `offset` from the cells' lower corner.

    On a CPU torch's own sampling of volumes is three times as slow as gathering and mixing the eight neighbors.
    """
    if axis == len(cells.strides):
        return plane[offset:].index_select(0, cells.index)
    lower = interpolate(plane, cells, axis + 1, offset)
    return lower.lerp_(interpolate(plane, cells, axis + 1, offset + cells.strides[axis]), cells.fractions[axis])


def turn(image: Tensor, label: Tensor, matrices: Tensor, sizes: tuple[Shape, Shape]) -> tuple[Tensor, Tensor]:
    """Show loader patches as `matrices` (R, d, d) say: image (C, R, *F), linear, and label (L, R, *F).

    `image` (C, R, ...) and `label` (L, R, ...) hold R loader patches with what surrounds them: one voxel before and two
    after each of the last d axes, 0 and -1; axes before these ride along and have their final extent. `sizes`: (F, P).
    """
    size, loader_size = sizes
    ndim, rows = matrices.shape[-1], len(matrices)
    rigid = len(size) - ndim
    depth = math.prod(size[:rigid])
    cells = find_cells(sample_positions(matrices, size[rigid:], loader_size[rigid:]), loader_size[rigid:])
    voxels = len(cells.index) // rows
    planes = torch.arange(rows * depth, dtype=torch.int32, device=image.device) * math.prod(image.shape[-ndim:])
    index = (cells.index.reshape(rows, 1, voxels) + planes.reshape(rows, depth, 1)).reshape(-1)
    fractions = [f.reshape(rows, 1, -1).expand(-1, depth, -1).reshape(-1) for f in cells.fractions]
    cells = Cells(index, fractions, cells.strides)
    turned = torch.stack([interpolate(channel.reshape(-1), cells) for channel in image])
    return turned.reshape(-1, rows, *size), vote(label.reshape(len(label), -1), cells).reshape(-1, rows, *size)


def vote(values: Tensor, cells: Cells) -> Tensor:
    """Take for each position the label with the largest share of linear weight: (L, V) from flat arrays (L, n).

    Ties go to the nearest voxel's label, else to the smallest. Equal to interpolating each label's indicator, at a cost
    that does not grow with the number of labels: on the CPU there is a vote only where the 4 or 8 neighbors differ,
    elsewhere, where to find these would mean to wait for the device, everywhere.
    """
    corners = [0]
    for stride in cells.strides:
        corners = [*corners, *(corner + stride for corner in corners)]
    if values.device.type != "cpu":
        found = torch.stack([values[:, corner:].index_select(1, cells.index) for corner in corners])
        return torch.stack([vote_everywhere(labels, cells.fractions) for labels in found.unbind(1)])
    out = values.index_select(1, cells.index)
    mixed = _mixed_cells(values, cells.strides)
    planes, voxels = mixed.index_select(1, cells.index).nonzero(as_tuple=True)
    if len(voxels):
        first = cells.index[voxels] + planes * values.shape[1]
        found = values.reshape(-1).index_select(0, (first + first.new_tensor(corners)[:, None]).reshape(-1))
        winners = vote_where_mixed(found.reshape(len(corners), -1), [fraction[voxels] for fraction in cells.fractions])
        out[planes, voxels] = winners
    return out


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


def vote_where_mixed(labels: Tensor, fractions: Sequence[Tensor]) -> Tensor:
    """Return the winner among `labels` (2**ndim, M); bit i of a row's number: the upper neighbor along axis i."""
    low, high = labels.amin(0), labels.amax(0)
    is_high = labels == high
    share = _share(is_high, fractions)
    winner = torch.where(share > 0.5, high, low)
    tied = ((share - 0.5).abs_() < TIE).nonzero()[:, 0]
    if len(tied):
        winner[tied] = labels[_nearest([fraction[tied] for fraction in fractions]), tied]
    several = (~is_high & (labels != low)).any(0).nonzero()[:, 0]  # few: most borders have two sides
    if len(several):
        winner[several] = _vote_among_several(labels[:, several], [fraction[several] for fraction in fractions])
    return winner


def vote_everywhere(labels: Tensor, fractions: Sequence[Tensor]) -> Tensor:
    """Return what `vote_where_mixed` does, without a step whose size depends on the labels."""
    low, high = labels.amin(0), labels.amax(0)
    is_high = labels == high
    share = _share(is_high, fractions)
    winner = torch.where(share > 0.5, high, low)
    winner = torch.where((share - 0.5).abs_() < TIE, labels.gather(0, _nearest(fractions)[None])[0], winner)
    several = (~is_high & (labels != low)).any(0)
    return torch.where(several, _vote_among_several(labels, fractions), winner)


def _share(chosen: Tensor, fractions: Sequence[Tensor]) -> Tensor:
    share = chosen.to(torch.float32)
    for fraction in reversed(fractions):
        lower, upper = share.chunk(2)
        share = lower.lerp(upper, fraction)
    return share[0]


def _nearest(fractions: Sequence[Tensor]) -> Tensor:
    return torch.stack([(fraction > 0.5).to(torch.int64) << bit for bit, fraction in enumerate(fractions)]).sum(0)


def _vote_among_several(labels: Tensor, fractions: Sequence[Tensor]) -> Tensor:
    weights = torch.ones(1, labels.shape[1], device=labels.device)
    for fraction in fractions:
        weights = torch.cat([weights * (1 - fraction), weights * fraction])
    scores = torch.stack([(weights * (labels == row)).sum(0) for row in labels])
    tied = scores >= scores.amax(0) - TIE
    smallest = torch.where(tied, labels, torch.iinfo(labels.dtype).max).amin(0)
    nearest = _nearest(fractions)[None]
    return torch.where(tied.gather(0, nearest)[0], labels.gather(0, nearest)[0], smallest)
