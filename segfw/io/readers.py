"""Image files to volumes and label maps to files. The only place that knows ITK's (x, y, z) order.

Rules from nnU-Net's readers: arrays are float32 `(C, Z, Y, X)`; a 2D image is one slice whose first spacing is 999
times the largest in plane (so that the planner never resamples across slices); natural images (PNG and the like) have
spacing `(999, 1, 1)`; one color file gives its colors as channels; the first axis of a 4D file is the channel axis.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from segfw.core.errors import DataError, UsageError
from segfw.core.files import atomic_path
from segfw.core.types import Geometry, IntArray, Spacing, Volume
from segfw.io.completeness import require_whole
from segfw.io.nifti_header import restore_direction

VOLUME_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".gipl")
NATURAL_ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")
LOSSY_ENDINGS = (".jpg", ".jpeg")
SLICE_SPACING = 999.0

sitk.ProcessObject.SetGlobalWarningDisplay(False)


def ending_of(path: str | Path) -> str:
    """Return the part of the file name that names its format, such as `.nii.gz`, as it is written.

    Raises `DataError` for a name of no known format, listing the known ones.
    """
    name = Path(path).name
    for ending in (*VOLUME_ENDINGS, *NATURAL_ENDINGS):
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[len(name) - len(ending) :]
    raise DataError(
        f"{path} is of no known image format; known endings: {', '.join((*VOLUME_ENDINGS, *NATURAL_ENDINGS))}"
    )


def read_image(paths: Sequence[str | Path]) -> Volume:
    """Read one case's image: one file per channel, or files that hold several; channels are stacked in the order given.

    Spacing and geometry are the first file's. Raises `DataError` for an unreadable file, for files that differ in shape
    or spacing, and for values that are no real numbers.
    """
    first, *others = (_read(path) for path in paths)
    for path, other in zip(paths[1:], others, strict=True):
        if other.shape != first.shape:
            raise DataError(
                f"the files of a case differ in shape (Z, Y, X): {paths[0]} has {first.shape}, {path} has {other.shape}"
            )
        if not np.allclose(other.spacing, first.spacing):
            raise DataError(
                f"the files of a case differ in spacing (Z, Y, X): {paths[0]} has {first.spacing}, "
                f"{path} has {other.spacing}"
            )
    if others:
        array = np.concatenate([first.array, *(other.array for other in others)], dtype=np.float32, casting="unsafe")
    else:
        array = np.ascontiguousarray(first.array, np.float32)
    return Volume(array, first.spacing, first.geometry)


def read_label(path: str | Path) -> Volume:
    """Read a label map: `(1, Z, Y, X)`, int16, or int32 where values do not fit.

    Raises `DataError` for an unreadable file, for more than one channel and for values that are not integers.
    """
    volume = _read(path)
    array = volume.array
    if len(array) != 1:
        raise DataError(f"{path}: a label map has one channel, this file has {len(array)}")
    if array.dtype.kind == "f":
        _require_integers(array, path)
    fits = array.size == 0 or (array.min() >= -(2**15) and array.max() < 2**15)
    return Volume(np.ascontiguousarray(array, np.int16 if fits else np.int32), volume.spacing, volume.geometry)


def write_label(path: str | Path, array: IntArray, geometry: Geometry) -> None:
    """Write a label map `(Z, Y, X)` on the grid of `geometry`, compressed, as uint8 (uint16 from the value 255 on).

    A geometry of two axes makes a 2D file of the only slice. The file appears whole or not at all.
    """
    path = Path(path)
    if ending_of(path).lower() in LOSSY_ENDINGS:
        raise UsageError(f"{path}: JPEG would change label values; write .png")
    if geometry.ndim == 2 and len(array) != 1:
        raise UsageError(f"{path}: the geometry is that of one slice, the label map has {len(array)}")
    largest = int(array.max(initial=0))
    if largest > np.iinfo(np.uint16).max or int(array.min(initial=0)) < 0:
        raise UsageError(f"{path}: label values must lie in 0 to 65535, got {int(array.min())} to {largest}")
    values = array.astype(np.uint8 if largest < 255 else np.uint16)
    image = sitk.GetImageFromArray(values[0] if geometry.ndim == 2 else values)
    image.SetSpacing(geometry.spacing[::-1])
    image.SetOrigin(geometry.origin)
    image.SetDirection(np.array(geometry.direction[::-1]).T.ravel().tolist())
    with atomic_path(path) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError as error:
            raise DataError(f"cannot write {path}: {_reason(error)}") from error
        if ending_of(path).lower() in (".nii", ".nii.gz"):
            restore_direction(temporary, image.GetDirection())


def _read(path: str | Path) -> Volume:
    """Read one file as it is: `(C, Z, Y, X)` in the file's own type."""
    ending = ending_of(path).lower()
    if not Path(path).is_file():
        raise DataError(f"cannot read {path}: there is no such file")
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise DataError(f"cannot read {path}: {_reason(error)}") from error
    require_whole(Path(path), ending, image)
    array = sitk.GetArrayFromImage(image)
    if array.dtype.kind not in "iuf":
        raise DataError(f"{path}: pixels must be integers or real numbers, got {image.GetPixelIDTypeAsString()}")
    components = image.GetNumberOfComponentsPerPixel()
    if components == 1:
        array = array[np.newaxis]
    else:
        array = np.moveaxis(array, -1, 0)
        array = array[:1] if _is_grey_bitmap(path, ending) else _without_opaque_alpha(array)
    ndim = image.GetDimension()
    if ndim == 4 and components == 1:
        array = array[0]
    elif ndim == 2:
        array = array[:, np.newaxis]
    elif ndim != 3:
        raise DataError(f"{path}: images have 2, 3 or 4 axes, this one has {ndim} and {components} values per voxel")
    if ending in NATURAL_ENDINGS and ndim != 2:
        raise DataError(
            f"{path}: only 2D is read of this format, this one has shape {array.shape[1:]}; convert it to .nii.gz"
        )
    geometry = _geometry(image, min(ndim, 3))
    try:
        return Volume(array, _volume_spacing(geometry, natural=ending in NATURAL_ENDINGS), geometry)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _geometry(image: sitk.Image, ndim: int) -> Geometry:
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
    """Drop the fourth channel of a colour image `(C, ...)` where it is at its maximum everywhere: it says nothing."""
    opaque = len(array) == 4 and array.dtype.kind == "u" and bool((array[3] == 2 ** (8 * array.itemsize) - 1).all())
    return array[:3] if opaque else array


def _is_grey_bitmap(path: str | Path, ending: str) -> bool:
    """Whether the file is a BMP of at most 8 bits a pixel, which ITK gives as three equal colors."""
    if ending != ".bmp":
        return False
    with Path(path).open("rb") as file:
        header = file.read(30)
    return int.from_bytes(header[28:30], "little") <= 8


def _require_integers(array: NDArray[np.generic], path: str | Path) -> None:
    values = np.asarray(array, np.float64)
    wrong = ~np.isfinite(values) | (values != np.rint(values))
    if wrong.any():
        examples = sorted({float(v) for v in values[wrong][:1000]})[:5]
        raise DataError(f"{path}: label values must be integers, {int(wrong.sum())} voxels are not, such as {examples}")


def _reason(error: RuntimeError) -> str:
    """Return the line of an ITK exception that says what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line in reversed(lines):
        if "ERROR" in line or "Error" in line or "error" in line:
            return line.split("ERROR:")[-1].strip()
    return lines[-1] if lines else "unknown reason"
