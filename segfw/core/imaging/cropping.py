"""Cropping to what is not zero, and marking what lies outside it.

nnU-Net's rule: background voxels outside the hole-filled nonzero region carry the label -1, so that normalization can
tell them from background inside the body.
"""

import numpy as np
from scipy import ndimage

from segfw.core.types import BoolArray, FloatArray, IntArray

Box = tuple[tuple[int, int], ...]

VOXELS_PER_RUN = 32
"""Background in runs shorter than this on average is scattered, such as noise around zero: then labeling is quicker."""


def fill_holes(mask: BoolArray) -> BoolArray:
    """Add the background that no path of face neighbours joins to the outside of the array.

    Outside the array all is background, so a single slice keeps its holes: each of its voxels touches the outside.
    Not voxels are labeled, but runs of background along the last axis followed from the margin: 2 to 9 times as fast
    (300 x 512 x 512, with and without scattered zeros), in half a byte per voxel and some per run instead of five.
    """
    if mask.all():
        return mask
    background = np.ones(tuple(n + 2 for n in mask.shape), np.bool_)
    inner = (slice(1, -1),) * mask.ndim
    np.logical_not(mask, out=background[inner])
    flat = background.reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if len(edges) * VOXELS_PER_RUN > 2 * flat.size:
        components, _ = ndimage.label(background)
        filled: BoolArray = components[inner] != components[(0,) * mask.ndim]
        return filled
    starts, stops = np.append(0, edges[1::2]), np.append(edges[0::2], flat.size)  # both ends of the array are margin
    holes = ~_reached_runs(starts, stops, background.strides[:-1])
    flat[_expand(starts[holes], stops[holes])] = False
    return np.logical_not(background[inner])


def _reached_runs(starts: IntArray, stops: IntArray, steps: tuple[int, ...]) -> BoolArray:
    """Mark the runs `[start, stop)` of flat indices that the first one leads to; those that overlap after a step touch.

    A run may go on over the end of a line: both sides of it are margin.
    """
    touching = [
        (np.searchsorted(stops, starts + step, "right"), np.searchsorted(starts, stops + step, "left"))
        for length in steps
        for step in (length, -length)
    ]
    reached = np.zeros(len(starts), np.bool_)
    newest = np.zeros(1, np.intp)
    while len(newest):
        reached[newest] = True
        found = np.concatenate([_expand(first[newest], last[newest]) for first, last in touching])
        newest = np.unique(found[~reached[found]])
    return reached


def _expand(starts: IntArray, stops: IntArray) -> IntArray:
    """Return the members of half-open ranges, one after another."""
    lengths = np.maximum(stops - starts, 0)
    offsets = starts - (np.cumsum(lengths) - lengths)
    expanded: IntArray = np.repeat(offsets, lengths) + np.arange(lengths.sum())
    return expanded


def bounding_box(mask: BoolArray) -> Box:
    """Return the half-open range of each axis that holds every true voxel; the whole extent where none is true."""
    ranges = []
    for axis in range(mask.ndim):
        found = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        ranges.append((int(found[0]), int(found[-1]) + 1) if len(found) else (0, mask.shape[axis]))
    return tuple(ranges)


def box_slices(box: Box) -> tuple[slice, ...]:
    """Return the index that cuts `box` out of a spatial array."""
    return tuple(slice(start, stop) for start, stop in box)


def crop_to_nonzero(image: FloatArray, label: IntArray | None) -> tuple[FloatArray, IntArray, Box]:
    """Cut image and label map `(1, ...)` to the nonzero region and mark background outside it with -1.

    The image comes back as a view, the label map as a copy of a signed type; without one it is int8, 0 inside and -1
    outside. Labels other than 0 stay where they are, even outside.
    """
    mask = _any_nonzero(image)
    box = bounding_box(mask)
    cut, all_cut = box_slices(box), (slice(None), *box_slices(box))
    # Filling after the cut is the same: what lies outside the box reaches the outside of the array in a straight line.
    outside = np.logical_not(fill_holes(mask[cut]))
    del mask
    if label is None:
        return image[all_cut], -outside[None].astype(np.int8), box
    cropped = label[all_cut].astype(np.promote_types(label.dtype, np.int8))
    outside &= cropped[0] == 0
    cropped[0, outside] = -1
    return image[all_cut], cropped, box


def _any_nonzero(image: FloatArray) -> BoolArray:
    """Mark the voxels `(Z, Y, X)` where some channel of `(C, Z, Y, X)` is not zero, as NaN is not."""
    mask: BoolArray = image[0] != 0
    for channel in image[1:]:
        mask |= channel != 0
    return mask
