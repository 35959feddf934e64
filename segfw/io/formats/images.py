"""SimpleITK images to volumes and back. The only place that knows ITK's (x, y, z) order.

The numbers of a geometry are permuted, never computed, so that writing gives back what was read.
"""

import locale
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import SimpleITK as sitk
from numpy.typing import DTypeLike, NDArray

from segfw.core.errors import DataError
from segfw.core.types import SLICE_SPACING, Geometry, IntArray, Spacing, Volume

NATURAL_SPACING: Spacing = (SLICE_SPACING, 1.0, 1.0)
POINTER = re.compile(r"\w+ ?\(0x[0-9a-fA-F]+\): ?")  # before ITK's own words: which object says them
NOT_ORTHONORMAL = "the axes in its header are not at right angles; resample the image or repair its header"
SHEAR = 0.01  # cosine between axes; headers round theirs to some digits
DISPLACEMENTS = "1006"  # NIFTI_INTENT_DISPVECT
NOTES = "ITK_FileNotes"
"""ITK's name for the remark in a header; NIfTI's holds 79 characters."""


@dataclass(frozen=True, eq=False)
class FileImage:
    """What a file holds: its volume, and whether the last channel is an alpha channel."""

    volume: Volume
    has_alpha: bool = False

    @property
    def has_constant_alpha(self) -> bool:
        """Whether there is an alpha channel of one value throughout: it says nothing."""
        if not self.has_alpha:
            return False
        alpha = self.volume.array[-1]
        return bool((alpha == alpha.flat[0]).all())

    def without_constant_alpha(self) -> Volume:
        """Return the volume; an alpha channel of one value throughout is dropped."""
        volume = self.volume
        return Volume(volume.array[:-1], volume.spacing, volume.geometry) if self.has_constant_alpha else volume


def volume_from_image(image: sitk.Image) -> Volume:
    """Return an image as a volume (C, Z, Y, X) in its own type; the alpha channel of a 2D color image is dropped if
    it is constant.

    The first axis of a 4D image and the components of a color image are channels. Raises `DataError` for other
    numbers of axes and for pixels that are not real numbers.
    """
    return content_of_image(image).without_constant_alpha()


def content_of_image(image: sitk.Image, natural: bool = False, dtype: DTypeLike | None = None) -> FileImage:
    """Return what an image holds, as `dtype` (None: its own type); `natural` ones (PNG and the like) have no spacing.

    The last of four components of a natural image is an alpha channel, and so is that of any 2D image of unsigned
    ones. Raises as `volume_from_image` does.
    """
    if image.HasMetaDataKey("intent_code") and image.GetMetaData("intent_code") == DISPLACEMENTS:
        raise DataError("this is a field of displacements (NIfTI intent 1006), not an image")
    view = sitk.GetArrayViewFromImage(image)
    if view.dtype.kind not in "iuf":
        raise DataError(f"pixels must be integers or real numbers, got {image.GetPixelIDTypeAsString()}")
    components, ndim = image.GetNumberOfComponentsPerPixel(), image.GetDimension()
    array = view[np.newaxis] if components == 1 else np.moveaxis(view, -1, 0)
    if ndim == 4 and components == 1:
        array = array[0]
    elif ndim == 2:
        array = array[:, np.newaxis]
    elif ndim != 3:
        raise DataError(f"images have 2, 3 or 4 axes, this one has {ndim} and {components} values per voxel")
    geometry = geometry_of(image, min(ndim, 3))
    owned = np.array(array, view.dtype if dtype is None else dtype, order="C")  # the view dies with the image
    has_alpha = ndim == 2 and components == 4 and (natural or view.dtype.kind == "u")
    try:
        return FileImage(Volume(owned, NATURAL_SPACING if natural else _volume_spacing(geometry), geometry), has_alpha)
    except ValueError as error:
        raise DataError(str(error)) from error


def label_values(array: IntArray) -> IntArray:
    """Return label values as uint8 (uint16 from the value 255 on); `DataError` for values that do not fit."""
    smallest, largest = int(array.min(initial=0)), int(array.max(initial=0))
    if smallest < 0 or largest > np.iinfo(np.uint16).max:
        raise DataError(f"label values must lie in 0 to 65535, got {smallest} to {largest}")
    return array.astype(np.uint8 if largest < 255 else np.uint16)


def image_from_label(array: IntArray, geometry: Geometry) -> sitk.Image:
    """Return a label map (Z, Y, X) on the grid of `geometry`, as uint8 (uint16 from the value 255 on).

    A geometry of two axes makes a 2D image of the only slice. `DataError` for values that do not fit and for several
    slices on it.
    """
    return image_on_grid(label_values(array), geometry)


def image_on_grid(values: NDArray[np.generic], geometry: Geometry) -> sitk.Image:
    """Return voxels (Z, Y, X) on the grid of `geometry`, in their own type; else as `image_from_label`."""
    if geometry.ndim == 2 and len(values) != 1:
        raise DataError(f"the geometry is that of one slice, the map has {len(values)}")
    image = sitk.GetImageFromArray(values[0] if geometry.ndim == 2 else values)
    image.SetSpacing(geometry.spacing[::-1])
    image.SetOrigin(geometry.origin)
    image.SetDirection(np.array(geometry.direction[::-1]).T.ravel().tolist())
    return image


@contextmanager
def same_locale() -> Iterator[None]:
    """Undo what ITK's readers of DICOM and VTK do: they leave the process in the C locale, where text is ASCII."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        if locale.setlocale(locale.LC_ALL) != before:
            locale.setlocale(locale.LC_ALL, before)


class _OnGrid(Protocol):
    """What an image of ITK and a reader of one both state of their grid."""

    def GetDimension(self) -> int: ...
    def GetDirection(self) -> tuple[float, ...]: ...
    def GetSpacing(self) -> tuple[float, ...]: ...
    def GetOrigin(self) -> tuple[float, ...]: ...


def geometry_of(image: _OnGrid, ndim: int) -> Geometry:
    """Take ITK's numbers in array order; of a 4D image, those of its three axes in space.

    `DataError` for what is no grid: a spacing that is no number, axes that are not at right angles.
    """
    columns = np.array(image.GetDirection()).reshape(image.GetDimension(), -1)[:ndim, :ndim].T
    if not np.allclose(columns @ columns.T, np.eye(ndim), rtol=0, atol=SHEAR):  # NaN is not close to anything
        raise DataError(f"{NOT_ORTHONORMAL}; got {columns.tolist()}")
    direction = tuple(tuple(float(v) for v in column) for column in columns[::-1])
    try:
        return Geometry(image.GetSpacing()[:ndim][::-1], image.GetOrigin()[:ndim], direction)
    except ValueError as error:
        raise DataError(str(error)) from error


def bytes_of_voxels(reader: sitk.ImageFileReader, dtype: DTypeLike | None = None) -> int:
    """Return how many bytes the voxels take that a header states, as `dtype` (None: their own type)."""
    one = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID(), 1)
    size = one.GetSizeOfPixelComponent() if dtype is None else np.dtype(dtype).itemsize
    voxels: int = math.prod(reader.GetSize())
    return voxels * int(reader.GetNumberOfComponents()) * int(size)


def plain_geometry(spacing: Spacing) -> Geometry:
    """Return a grid of this spacing at the origin, along the axes: that of formats which state no more."""
    ndim = len(spacing)
    return Geometry(spacing, (0.0,) * ndim, tuple(tuple(float(v) for v in row) for row in np.eye(ndim)[::-1]))


def is_plain(geometry: Geometry) -> bool:
    """Whether the grid lies at the origin, along the axes."""
    plain = plain_geometry(geometry.spacing)
    return geometry.origin == plain.origin and geometry.direction == plain.direction


def slice_spacing(spacing: Spacing) -> Spacing:
    """Return the spacing of a 2D image with these in-plane spacings: its slice is far from any neighbor."""
    return (SLICE_SPACING * max(spacing), *spacing)


def _volume_spacing(geometry: Geometry) -> Spacing:
    spacing = tuple(abs(s) for s in geometry.spacing)
    return spacing if geometry.ndim == 3 else slice_spacing(spacing)


def reason(error: RuntimeError) -> str:
    """Return the line of an ITK exception that says what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line in reversed(lines):
        if "orthonormal" in line:
            return NOT_ORTHONORMAL
        if "Unknown PixelType" in line:
            return "its kind of pixels, such as tensors or grey with alpha, is not read; save it without"
        if "ERROR" in line or "Error" in line or "error" in line:
            return POINTER.sub("", line.split("ERROR:")[-1]).strip()
    return POINTER.sub("", lines[-1]).strip() if lines else "unknown reason"
