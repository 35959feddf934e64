"""Connected components of label maps, of many sets of values in one pass.

A *group* is a set of values whose union is one mask; the groups of a call have no value in common. Components are of
full connectivity (26 neighbours, 8 in one slice); cavities, which are components of background, of the least (6, 4 in
one slice), so that no cavity leaks through a surface that holds together by a corner.

Label maps are `(Z, Y, X)`, of one slice for 2D. Working memory is 4 to 5 bytes per voxel of the box that is looked at.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import cc3d
import numpy as np
from numpy.typing import NDArray

from segfw.core.errors import DataError
from segfw.core.labels import LabelKey
from segfw.core.types import BoolArray, IntArray

Box = tuple[slice, ...]
_BLOCK = 1 << 20
_FULL: Final = 26
_LEAST: Final = 6
_LARGEST = 65535


@dataclass(frozen=True, eq=False)
class Components:
    """The components of several groups. Component 0 is all that belongs to no group.

    `box`: where they lie; `indices`: component of each voxel of it; per component `sizes` in voxels and `owners`, the
    number of its group, counted from 1.
    """

    box: Box
    indices: NDArray[np.unsignedinteger]
    sizes: NDArray[np.int64]
    owners: NDArray[np.int64]

    def largest(self) -> BoolArray:
        """Return which components are the largest of their group; all of them where several are."""
        most = np.zeros(int(self.owners.max(initial=0)) + 1, np.int64)
        np.maximum.at(most, self.owners, self.sizes)
        return np.asarray(self.sizes == most[self.owners])


def compact(label_map: IntArray) -> NDArray[np.unsignedinteger]:
    """Return a contiguous copy as uint8, or uint16 where values need it; `DataError` for values outside 0 to 65535."""
    if label_map.dtype == np.uint8 or label_map.dtype == np.uint16:
        return np.array(label_map, order="C")
    low, high = (int(label_map.min()), int(label_map.max())) if label_map.size else (0, 0)
    if low < 0 or high > _LARGEST:
        raise DataError(f"a segmentation holds values from 0 to {_LARGEST}, got {low} to {high}")
    return np.asarray(label_map, np.uint8 if high < 256 else np.uint16, order="C")


def find_components(label_map: NDArray[np.unsignedinteger], groups: Sequence[LabelKey]) -> Components | None:
    """Return the components of all groups in a compact map, None where it has no voxel of them."""
    grouped = _number_groups(label_map, groups)
    box = _bounding_box(grouped)
    if box is None:
        return None
    inside = np.ascontiguousarray(grouped[box])
    indices, count = cc3d.connected_components(inside, connectivity=_FULL, return_N=True)
    sizes, owners = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
    for part in _blocks(inside.size):
        here = indices.reshape(-1)[part]
        counted = np.bincount(here)
        sizes[: len(counted)] += counted
        owners[here] = inside.reshape(-1)[part]
    sizes[0] = 0
    return Components(box, indices, sizes, owners)


def clear(label_map: NDArray[np.unsignedinteger], found: Components, removed: BoolArray) -> None:
    """Set the components that are `removed` (one truth value per component) to background, in place."""
    removed = removed & (found.owners > 0)
    if not removed.any():
        return
    target = label_map[found.box]
    for plane, indices in zip(target, found.indices, strict=True):
        plane[removed[indices]] = 0


def fill_cavities(label_map: NDArray[np.unsignedinteger], groups: Sequence[LabelKey], fills: Sequence[int]) -> None:
    """Set every cavity that one group alone encloses to that group's value in `fills`, in place.

    A cavity is a component of background that does not reach the border of the image (of the slice for one slice), and
    a group encloses it whose values are all that it touches. What several groups enclose together stays as it is:
    whose it is, nobody can tell. So the order of groups does not matter.
    """
    grouped = _number_groups(label_map, groups)
    box = _bounding_box(grouped)
    if box is None:
        return
    inside, groups_inside = label_map[box], np.ascontiguousarray(grouped[box])
    indices, count = cc3d.connected_components(inside == 0, connectivity=_LEAST, return_N=True)
    axes = [axis for axis, extent in enumerate(label_map.shape) if extent > 1]
    closed = np.ones(count + 1, np.bool_)
    closed[0] = False
    for axis in axes:
        for side in (0, -1):
            closed[np.take(indices, side, axis)] = False
    if not closed.any():
        return
    owners = _only_neighbours(np.ascontiguousarray(inside), groups_inside, indices, closed, axes)
    values = np.array([0, *fills], label_map.dtype)[owners]
    for plane, cavities in zip(inside, indices, strict=True):
        filled = owners[cavities] > 0
        plane[filled] = values[cavities[filled]]


def _only_neighbours(
    label_map: NDArray[np.unsignedinteger],
    groups: NDArray[np.unsignedinteger],
    indices: NDArray[np.unsignedinteger],
    closed: BoolArray,
    axes: Sequence[int],
) -> NDArray[np.int64]:
    """Return for each component of background the number of the only group that it touches, 0 where there is none.

    Only components that are `closed` count; since these touch no face, each of their voxels has both neighbours along
    every axis.
    """
    lowest = np.full(closed.shape, np.iinfo(np.int64).max)
    highest = np.zeros(closed.shape, np.int64)
    strides = [int(np.prod(label_map.shape[axis + 1 :], dtype=np.int64)) for axis in axes]
    flat_map, flat_groups, flat_indices = label_map.reshape(-1), groups.reshape(-1), indices.reshape(-1)
    for part in _blocks(flat_map.size):
        voxels = np.flatnonzero(closed[flat_indices[part]]) + part.start
        for offset in (sign * stride for stride in strides for sign in (-1, 1)):
            touching = voxels[flat_map[voxels + offset] != 0]
            cavities, neighbours = flat_indices[touching], flat_groups[touching + offset].astype(np.int64)
            np.minimum.at(lowest, cavities, neighbours)
            np.maximum.at(highest, cavities, neighbours)
    return np.where(closed & (lowest == highest), highest, 0)


def _number_groups(label_map: NDArray[np.unsignedinteger], groups: Sequence[LabelKey]) -> NDArray[np.unsignedinteger]:
    """Replace each value by the number of its group, counted from 1; 0 for all others."""
    numbers = np.zeros(np.iinfo(label_map.dtype).max + 1, np.uint8 if len(groups) < 256 else np.uint16)
    for number, key in enumerate(groups, 1):
        numbers[[value for value in key if value < len(numbers)]] = number
    return np.asarray(numbers[label_map])


def _bounding_box(numbered: NDArray[np.unsignedinteger]) -> Box | None:
    """Return the smallest box around all voxels above 0."""
    box: list[slice] = []
    for axis in range(numbered.ndim):
        others = tuple(other for other in range(numbered.ndim) if other != axis)
        positions = np.flatnonzero(numbered.any(axis=others))
        if positions.size == 0:
            return None
        box.append(slice(int(positions[0]), int(positions[-1]) + 1))
        numbered = numbered[(slice(None),) * axis + (box[-1],)]
    return tuple(box)


def _blocks(size: int) -> Iterator[slice]:
    for start in range(0, size, _BLOCK):
        yield slice(start, min(start + _BLOCK, size))
