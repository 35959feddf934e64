"""Cropping to what is not zero, and marking what lies outside it.

nnU-Net's rule: background voxels outside the hole-filled nonzero region carry the label -1, so that normalization can
tell them from background inside the body.
"""

import numpy as np
from scipy import ndimage

from segfw.core.types import BoolArray, FloatArray, IntArray

Box = tuple[tuple[int, int], ...]


def nonzero_mask(image: FloatArray) -> BoolArray:
    """Mark the voxels `(Z, Y, X)` where some channel of `(C, Z, Y, X)` is not zero, holes filled. NaN is not zero."""
    return fill_holes(_any_nonzero(image))


def fill_holes(mask: BoolArray) -> BoolArray:
    """Add the background that no path of face neighbours joins to the outside of the array.

    Outside the array all is background, so a single slice keeps its holes: each of its voxels touches the outside.
    """
    if mask.all():
        return mask
    components, _ = ndimage.label(np.pad(~mask, 1, constant_values=True))
    inner = (slice(1, -1),) * mask.ndim
    filled: BoolArray = components[inner] != components[(0,) * mask.ndim]
    return filled


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
    outside = ~fill_holes(mask[cut])
    if label is None:
        return image[all_cut], -outside[None].astype(np.int8), box
    cropped = label[all_cut].astype(np.promote_types(label.dtype, np.int8))
    cropped[(cropped == 0) & outside] = -1
    return image[all_cut], cropped, box


def _any_nonzero(image: FloatArray) -> BoolArray:
    mask: BoolArray = image[0] != 0
    for channel in image[1:]:
        mask |= channel != 0
    return mask
