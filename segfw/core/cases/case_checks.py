"""What every computation on a case may take for granted: agreeing shapes, finite numbers, whole labels."""

import numpy as np
from numpy.typing import NDArray

from segfw.core.errors import DataError
from segfw.core.types import FloatArray, IntArray, Volume


def checked_image(image: Volume, num_channels: int | None = None) -> FloatArray:
    """Return the image as float32 `(C, Z, Y, X)`, the caller's own array where it already is.

    `DataError` for a number of channels other than `num_channels` and for voxels that are NaN or infinite.
    """
    array: FloatArray = image.array.astype(np.float32, copy=False)
    if num_channels is not None and len(array) != num_channels:
        raise DataError(f"the image has {len(array)} channels, {num_channels} are declared")
    _check_finite(array, "image")
    return array


def checked_label(label: Volume, image: Volume) -> IntArray:
    """Return the label map as a signed integer array `(1, Z, Y, X)`, in int8 where that holds all labels.

    `DataError` when it is not on the image's grid, has NaN voxels or values that are no integers.
    """
    if len(label.array) != 1:
        raise DataError(f"a label map has one channel, got {len(label.array)}")
    if label.shape != image.shape:
        raise DataError(f"image and label map differ in shape: {image.shape} and {label.shape} voxels")
    array = label.array
    if np.issubdtype(array.dtype, np.floating):
        _check_finite(array, "label map")
        whole = array.astype(np.int32)
        if (whole != array).any():
            raise DataError(f"a label map holds integers, got {float(array[whole != array][0])}")
        array = whole
    small = np.iinfo(np.int8)
    fits = small.min <= array.min(initial=0) and array.max(initial=0) <= small.max
    return array.astype(np.int8 if fits else np.promote_types(array.dtype, np.int16), copy=False)


def not_finite(array: NDArray[np.generic]) -> tuple[int, int] | None:
    """Return (number of voxels that are NaN or infinite, index of the first one in the array's order); None if none is.

    Integers are never.
    """
    # The extremes carry NaN and infinity, so that the usual case needs no mask of the volume's size.
    if array.dtype.kind != "f" or not array.size or (np.isfinite(array.min()) and np.isfinite(array.max())):
        return None
    bad = ~np.isfinite(array)
    return int(bad.sum()), int(bad.argmax())


def _check_finite(array: NDArray[np.generic], what: str) -> None:
    found = not_finite(array)
    if found is not None:
        first = tuple(int(i) for i in np.unravel_index(found[1], array.shape))
        raise DataError(f"the {what} has {found[0]} voxels that are NaN or infinite, the first at {first}")
