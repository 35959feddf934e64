"""Image files to volumes and label maps to files.

Rules from nnU-Net's readers: arrays are float32 `(C, Z, Y, X)`; a 2D image is one slice whose first spacing is 999
times the largest in plane (so that the planner never resamples across slices); natural images (PNG and the like) have
spacing `(999, 1, 1)`; one colour file gives its colours as channels; the first axis of a 4D file is the channel axis.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from segfw.core.errors import DataError, UsageError
from segfw.core.files import atomic_path
from segfw.core.types import Geometry, IntArray, Volume
from segfw.io.completeness import require_whole
from segfw.io.images import image_from_label, volume_from_image
from segfw.io.nifti_header import restore_direction

VOLUME_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".gipl")
NATURAL_ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")
LOSSY_ENDINGS = (".jpg", ".jpeg")

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

    Spacing and geometry are the first file's. Raises `DataError` for an unreadable file, for files that differ in
    shape or spacing, and for values that are no real numbers.
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


def read_label(path: str | Path, remap: Mapping[int, int] = {}) -> Volume:
    """Read a label map: `(1, Z, Y, X)`, int16, or int32 where values do not fit.

    `remap`: value in the file -> value to give, all at once; other values stay.
    Raises `DataError` for an unreadable file, for more than one channel and for values that are not integers.
    """
    volume = _read(path)
    array = volume.array
    if len(array) != 1:
        raise DataError(f"{path}: a label map has one channel, this file has {len(array)}")
    if array.dtype.kind == "f":
        _require_integers(array, path)
    if remap:
        original, array = array, array.astype(np.int32)
        for old, new in remap.items():
            array[original == old] = new
    fits = array.size == 0 or (array.min() >= -(2**15) and array.max() < 2**15)
    return Volume(np.ascontiguousarray(array, np.int16 if fits else np.int32), volume.spacing, volume.geometry)


def write_label(path: str | Path, array: IntArray, geometry: Geometry) -> None:
    """Write a label map `(Z, Y, X)` on the grid of `geometry`, compressed, as uint8 (uint16 from the value 255 on).

    A geometry of two axes makes a 2D file of the only slice. The file appears whole or not at all.
    """
    path = Path(path)
    if ending_of(path).lower() in LOSSY_ENDINGS:
        raise UsageError(f"{path}: JPEG would change label values; write .png")
    try:
        image = image_from_label(array, geometry)
    except DataError as error:
        raise DataError(f"cannot write {path}: {error}") from error
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
    natural = ending in NATURAL_ENDINGS
    if natural and image.GetDimension() != 2:
        raise DataError(
            f"{path}: only 2D is read of this format, this one has size {image.GetSize()}; convert it to .nii.gz"
        )
    try:
        volume = volume_from_image(image, natural)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if _is_grey_bitmap(path, ending):
        return Volume(volume.array[:1], volume.spacing, volume.geometry)
    return volume


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
