"""Image files to volumes and label maps to files.

Rules from nnU-Net's readers: arrays are float32 `(C, Z, Y, X)`; a 2D image is one slice whose first spacing is 999
times the largest in plane (so that the planner never resamples across slices); natural images (PNG and the like) have
spacing `(999, 1, 1)`; one color file gives its colors as channels; the first axis of a 4D file is the channel axis.
Further than these: a folder that holds a DICOM series is read like a file, an alpha channel that is constant is
dropped, and TIFF pages are taken as the file states them (see `segfw.io.formats.tiff`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import DTypeLike, NDArray

from segfw.core.errors import DataError
from segfw.core.types import Geometry, IntArray, Volume
from segfw.io.formats.completeness import require_file, require_sound_nifti, require_whole
from segfw.io.formats.credibility import require_memory
from segfw.io.formats.dicom import read_series, series_geometry
from segfw.io.formats.dicom_elements import require_sound_elements
from segfw.io.formats.endings import (
    FORMATS,
    LOSSY_ENDINGS,
    NATURAL_ENDINGS,
    NIFTI_ENDINGS,
    TIFF_ENDINGS,
    VOLUME_ENDINGS,
    ending_of,
    foreign_format,
    is_known,
)
from segfw.io.formats.images import (
    NOTES,
    FileImage,
    bytes_of_voxels,
    content_of_image,
    geometry_of,
    reason,
    same_locale,
    slice_spacing,
)
from segfw.io.formats.png import require_sound_chunks, stored_label_values
from segfw.io.formats.text_headers import require_sound_text
from segfw.io.formats.tiff import read_tiff, tiff_geometry
from segfw.io.formats.writing import write_label
from segfw.io.remote.arrival import arrive

__all__ = [
    "LOSSY_ENDINGS",
    "NATURAL_ENDINGS",
    "VOLUME_ENDINGS",
    "ending_of",
    "read_geometry",
    "read_image",
    "read_label",
    "write_label",
]

sitk.ProcessObject.SetGlobalWarningDisplay(False)


def read_image(paths: Sequence[str | Path]) -> Volume:
    """Read one case's image: one file per channel, or files that hold several; channels are stacked in the order given.

    A folder that holds a DICOM series counts as a file. Spacing and geometry are the first file's. Raises `DataError`
    for an unreadable file, for files that differ in shape or spacing, and for values that are no real numbers.
    """
    first, *others = (_read(Path(path), dtype=np.float32).without_constant_alpha() for path in paths)
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
    array = np.concatenate([first.array, *(other.array for other in others)]) if others else first.array
    return Volume(array, first.spacing, first.geometry)


def read_label(path: str | Path, remap: Mapping[int, int] | None = None) -> Volume:
    """Read a label map: `(1, Z, Y, X)`, int16, or int32 where values do not fit.

    `remap`: value in the file -> value returned, all at once, so that two values may change places; others stay.
    Raises `DataError` for an unreadable file, for more than one channel and for values that are not integers.
    """
    volume = _read(Path(path), is_label=True).without_constant_alpha()
    array = volume.array
    if len(array) != 1:
        raise DataError(f"{path}: a label map has one channel, this file has {len(array)}")
    if array.dtype.kind == "f":
        _require_integers(array, path)
    low, high = (0, 0) if array.size == 0 else (array.min(), array.max())
    if low < -(2**31) or high >= 2**31:
        raise DataError(f"{path}: label values must lie in -2147483648 to 2147483647, got {low} to {high}")
    targets = list(remap.values()) if remap else []
    fits = min([low, *targets]) >= -(2**15) and max([high, *targets]) < 2**15
    values: IntArray = np.ascontiguousarray(array, np.int16 if fits else np.int32)
    if remap:
        original, values = values, values.copy()
        for old, new in remap.items():
            values[original == old] = new
    return Volume(values, volume.spacing, volume.geometry)


def read_geometry(path: str | Path) -> Geometry:
    """Read where an image's voxels lie, from the headers alone; `DataError` for an unreadable or a truncated file."""
    path = Path(path)
    arrive(path)
    if path.is_dir():
        return series_geometry(path)
    require_file(path)
    ending = _ending(path)
    if ending in TIFF_ENDINGS:
        return tiff_geometry(path)
    reader = _opened(path, ending)
    try:
        return geometry_of(reader, min(reader.GetDimension(), 3))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def read_notes(path: Path) -> str:
    """Return the notes in the header of a NIfTI, NRRD or MetaImage file; empty where there are none, or no image."""
    try:
        reader = _opened(path, _ending(path))
    except (OSError, DataError):
        return ""
    return str(reader.GetMetaData(NOTES)) if reader.HasMetaDataKey(NOTES) else ""


def _ending(path: Path) -> str:
    """Return the ending of a known format, in lower case; empty for others."""
    return ending_of(path).lower() if is_known(path) else ""


def _opened(path: Path, ending: str) -> sitk.ImageFileReader:
    """Read a file's header; `DataError` where that is unreadable or states more voxels than the file can hold."""
    if ending in NIFTI_ENDINGS:
        require_sound_nifti(path)
    require_sound_text(path, ending)
    if ending in NATURAL_ENDINGS:
        require_sound_chunks(path)
    reading = _format(path)
    if reading == "GDCMImageIO":
        require_sound_elements(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(reading)
    reader.SetFileName(str(path))
    try:
        with same_locale():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from error
    sizes = reader.GetSize()
    if len(sizes) not in (2, 3, 4):
        raise DataError(f"cannot read {path}: images have 2, 3 or 4 axes, this one has {len(sizes)}")
    if 0 in sizes:
        raise DataError(f"cannot read {path}: its header states axes of these sizes: {list(sizes)}")
    require_whole(path, ending, bytes_of_voxels(reader))
    return reader


def _read(path: Path, is_label: bool = False, dtype: DTypeLike | None = None) -> FileImage:
    """Read one file, or folder of a DICOM series: `(C, Z, Y, X)`, as `dtype` (None: in the file's own type)."""
    arrive(path)
    if path.is_dir():
        return FileImage(read_series(path, dtype))
    require_file(path)
    ending = _ending(path)
    try:
        if ending in TIFF_ENDINGS:
            return read_tiff(path, is_label, dtype)
        return _read_by_itk(path, ending, is_label, dtype)
    except MemoryError as error:
        raise DataError(f"cannot read {path}: there is not enough memory for an image of its size") from error


def _read_by_itk(path: Path, ending: str, is_label: bool, dtype: DTypeLike | None) -> FileImage:
    reader = _opened(path, ending)
    require_memory(path, bytes_of_voxels(reader), bytes_of_voxels(reader, dtype))
    try:
        with same_locale():
            image = reader.Execute()
    except RuntimeError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from error
    natural = ending in NATURAL_ENDINGS
    if natural and image.GetDimension() != 2:
        raise DataError(
            f"{path}: only 2D is read of this format, this one has size {image.GetSize()}; convert it to .nii.gz"
        )
    try:
        content = content_of_image(image, natural, dtype)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    volume = content.volume
    if ending == ".png" and is_label:
        volume = Volume(stored_label_values(path, volume.array), volume.spacing, volume.geometry)
        return FileImage(volume, content.has_alpha and len(volume.array) > 1)
    if ending == ".bmp" and _is_grey_bitmap(path, volume.array):
        return FileImage(Volume(volume.array[:1], volume.spacing, volume.geometry))
    if reader.GetImageIO() == "GDCMImageIO" and volume.shape[0] == 1:
        return FileImage(_far_slice(path, volume))
    return content


def _far_slice(path: Path, volume: Volume) -> Volume:
    """Return a single slice of DICOM, for which no distance is stated, far from any neighbor."""
    try:
        return Volume(volume.array, slice_spacing(volume.spacing[1:]), volume.geometry)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _format(path: Path) -> str:
    """Return the name of ITK's reader for a file, empty for natural images, of which ITK looks at the content."""
    if not is_known(path):
        return foreign_format(path)
    return FORMATS.get(ending_of(path).lower(), "")


def _is_grey_bitmap(path: Path, array: NDArray[np.generic]) -> bool:
    """Whether the file is a BMP of at most 8 bits a pixel with a palette of greys, which ITK gives as three colors."""
    with path.open("rb") as file:
        header = file.read(30)
    few_bits = int.from_bytes(header[28:30], "little") <= 8
    return few_bits and len(array) == 3 and all(np.array_equal(array[0], other) for other in array[1:])


def _require_integers(array: NDArray[np.generic], path: str | Path) -> None:
    values = np.asarray(array, np.float64)
    wrong = ~np.isfinite(values) | (values != np.rint(values))
    count = int(wrong.sum())
    if count:
        found = "1 voxel is" if count == 1 else f"{count} voxels are"
        examples = sorted({float(v) for v in values[wrong][:1000]})[:5]
        raise DataError(f"{path}: label values must be integers, {found} not, such as {examples}")
