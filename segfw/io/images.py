"""SimpleITK images to volumes and back. The only place that knows ITK's (x, y, z) order.

The numbers of a geometry are permuted, never computed, so that writing gives back what was read.
"""

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from segfw.core.errors import DataError
from segfw.core.types import Geometry, IntArray, Spacing, Volume

SLICE_SPACING = 999.0


def volume_from_image(image: sitk.Image, natural: bool = False) -> Volume:
    """Return an image as a volume (C, Z, Y, X) in its own type; `natural` images (PNG and the like) have no spacing.

    The first axis of a 4D image and the components of a color image are channels; a fourth component that is at its
    maximum everywhere (an opaque alpha channel) is dropped. Raises `DataError` for other numbers of axes and for
    pixels that are not real numbers.
    """
    array = sitk.GetArrayFromImage(image)
    if array.dtype.kind not in "iuf":
        raise DataError(f"pixels must be integers or real numbers, got {image.GetPixelIDTypeAsString()}")
    components, ndim = image.GetNumberOfComponentsPerPixel(), image.GetDimension()
    array = array[np.newaxis] if components == 1 else _without_opaque_alpha(np.moveaxis(array, -1, 0))
    if ndim == 4 and components == 1:
        array = array[0]
    elif ndim == 2:
        array = array[:, np.newaxis]
    elif ndim != 3:
        raise DataError(f"images have 2, 3 or 4 axes, this one has {ndim} and {components} values per voxel")
    geometry = geometry_of(image, min(ndim, 3))
    try:
        return Volume(array, _volume_spacing(geometry, natural), geometry)
    except ValueError as error:
        raise DataError(str(error)) from error


def image_from_label(array: IntArray, geometry: Geometry) -> sitk.Image:
    """Return a label map (Z, Y, X) on the grid of `geometry`, as uint8 (uint16 from the value 255 on).

    A geometry of two axes makes a 2D image of the only slice. `DataError` for values that do not fit and for several
    slices on it.
    """
    if geometry.ndim == 2 and len(array) != 1:
        raise DataError(f"the geometry is that of one slice, the label map has {len(array)}")
    smallest, largest = int(array.min(initial=0)), int(array.max(initial=0))
    if smallest < 0 or largest > np.iinfo(np.uint16).max:
        raise DataError(f"label values must lie in 0 to 65535, got {smallest} to {largest}")
    values = array.astype(np.uint8 if largest < 255 else np.uint16)
    image = sitk.GetImageFromArray(values[0] if geometry.ndim == 2 else values)
    image.SetSpacing(geometry.spacing[::-1])
    image.SetOrigin(geometry.origin)
    image.SetDirection(np.array(geometry.direction[::-1]).T.ravel().tolist())
    return image


def geometry_of(image: sitk.Image | sitk.ImageFileReader, ndim: int) -> Geometry:
    """Take ITK's numbers in array order; of a 4D image, those of its three axes in space."""
    columns = np.array(image.GetDirection()).reshape(image.GetDimension(), -1)[:ndim, :ndim].T
    direction = tuple(tuple(float(v) for v in column) for column in columns[::-1])
    return Geometry(image.GetSpacing()[:ndim][::-1], image.GetOrigin()[:ndim], direction)


def _volume_spacing(geometry: Geometry, natural: bool) -> Spacing:
    if natural:
        return (SLICE_SPACING, 1.0, 1.0)
    spacing = tuple(abs(s) for s in geometry.spacing)
    return spacing if geometry.ndim == 3 else (SLICE_SPACING * max(spacing), *spacing)


def _without_opaque_alpha(array: NDArray[np.generic]) -> NDArray[np.generic]:
    opaque = len(array) == 4 and array.dtype.kind == "u" and bool((array[3] == 2 ** (8 * array.itemsize) - 1).all())
    return array[:3] if opaque else array
