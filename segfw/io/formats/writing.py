"""Label maps to files: whole or absent, and never in a format that would change them.

A format that cannot say how a volume lies in the patient (GIPL, VTK, MRC) is refused for one that is turned, with the
format that can; PNG, BMP and TIFF never say it, which is what their users expect, and the log tells.
"""

import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from segfw.core.errors import DataError, UsageError
from segfw.core.support.files import atomic_path, temporary_beside, writing
from segfw.core.types import Geometry, IntArray, Shape
from segfw.io.formats.completeness import require_sound_nifti, require_whole
from segfw.io.formats.endings import (
    INPUT_ONLY_ENDINGS,
    LOSSY_ENDINGS,
    NATURAL_ENDINGS,
    NIFTI_ENDINGS,
    PAIR_ENDINGS,
    TIFF_ENDINGS,
    UNDIRECTED_ENDINGS,
    ending_of,
    is_known,
)
from segfw.io.formats.images import NOTES, image_from_label, image_on_grid, is_plain, plain_geometry, reason
from segfw.io.formats.nifti_header import restore_direction
from segfw.io.formats.tiff import write_tiff_label

log = logging.getLogger(__name__)


def label_ending(image: Path) -> str:
    """Return the ending for a label map on an image's grid: the image's own, where the format can hold label maps.

    PNG for JPEG; `.nii.gz` for DICOM and for whatever else is only read.
    """
    if image.is_dir() or not is_known(image):
        return ".nii.gz"
    ending = ending_of(image)
    if ending.lower() in LOSSY_ENDINGS:
        return ".png"
    return ".nii.gz" if ending.lower() in INPUT_ONLY_ENDINGS else ending


def write_label(path: str | Path, array: IntArray, geometry: Geometry, notes: str = "") -> None:
    """Write a label map `(Z, Y, X)` on the grid of `geometry`, compressed, as uint8 (uint16 from the value 255 on).

    A geometry of two axes makes a 2D file of the only slice. TIFF volumes get a file beside them with their spacing.
    `notes`: a few words for the header, where the format has room for them (see `read_notes`).
    The file appears whole or not at all. Raises `UsageError` for a format that would change values, `DataError` for
    one that cannot hold the values or the grid.
    """
    path = Path(path)
    ending = ending_of(path).lower()
    if ending in LOSSY_ENDINGS:
        raise UsageError(f"{path}: JPEG would change label values; write .png")
    if ending in INPUT_ONLY_ENDINGS:
        raise UsageError(f"{path}: a label map is no DICOM image; write .nii.gz, or DICOM-SEG of a DICOM series")
    require_fits(path, array.shape, geometry)
    try:
        if ending in TIFF_ENDINGS and geometry.ndim == 3:
            _warn_of_lost_geometry(path, geometry)
            write_tiff_label(path, array, geometry)
            return
        image = image_from_label(array, _written_geometry(path, ending, geometry))
    except DataError as error:
        raise DataError(f"cannot write {path}: {error}") from error
    if notes:
        image.SetMetaData(NOTES, notes)
    write_by_itk(path, image)


def write_by_itk(path: Path, image: sitk.Image) -> None:
    """Write an image compressed, its direction to the last digit, whole or not at all; `DataError` says why not."""
    ending = ending_of(path).lower()
    try:
        if ending in PAIR_ENDINGS:
            _write_pair(path, ending, image)
            return
        with atomic_path(path) as temporary:
            _write_whole(temporary, ending, image)
    except RuntimeError as error:
        raise DataError(f"cannot write {path}: {reason(error)}") from error


def write_map(path: str | Path, values: NDArray[np.floating], geometry: Geometry) -> None:
    """Write a map of real numbers `(Z, Y, X)` on the grid of `geometry`, float32, whole or not at all."""
    try:
        image = image_on_grid(values.astype(np.float32), geometry)
    except DataError as error:
        raise DataError(f"cannot write {path}: {error}") from error
    write_by_itk(Path(path), image)


def require_fits(path: Path, shape: Shape, geometry: Geometry) -> None:
    """Raise `DataError` if the format of `path` cannot hold a label map (Z, Y, X) on a grid, or would turn it."""
    ending = ending_of(path).lower()
    if ending in UNDIRECTED_ENDINGS and (geometry.ndim == 2 or not is_plain(replace(geometry, origin=(0.0,) * 3))):
        raise DataError(
            f"cannot write {path}: {ending} does not hold how the grid lies, or 2D images; write .nii.gz or .nrrd"
        )
    if ending in NATURAL_ENDINGS and ending not in TIFF_ENDINGS and geometry.ndim == 3 and shape[0] != 1:
        raise DataError(
            f"cannot write {path}: {ending} holds one slice, the label map has {shape[0]}; write .nii.gz, or .tif"
        )


def _written_geometry(path: Path, ending: str, geometry: Geometry) -> Geometry:
    """Return the part of the geometry that the format holds."""
    if ending not in NATURAL_ENDINGS or geometry.ndim == 2:
        return geometry
    _warn_of_lost_geometry(path, geometry)
    return plain_geometry(geometry.spacing[1:])


def _warn_of_lost_geometry(path: Path, geometry: Geometry) -> None:
    if not is_plain(geometry):
        log.warning("%s: this format does not hold where the image lies in the patient; .nii.gz would", path)


def _write_pair(path: Path, ending: str, image: sitk.Image) -> None:
    """Write a header and its voxels' file, which the header names: under their names in a folder aside, then moved."""
    aside = temporary_beside(path)
    try:
        with writing(path, aside / path.name):
            aside.mkdir(parents=True)
            _write_whole(aside / path.name, ending, image)
            for file in sorted(aside.iterdir(), key=lambda file: file.name == path.name):
                with file.open("rb") as content:
                    os.fsync(content.fileno())
                file.replace(path.parent / file.name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write_whole(path: Path, ending: str, image: sitk.Image) -> None:
    write_checked(path, ending, image)
    if ending in NIFTI_ENDINGS:
        header = path.with_suffix(".hdr") if ending in PAIR_ENDINGS else path
        restore_direction(header, image.GetDirection())


def write_checked(path: Path, ending: str, image: sitk.Image) -> None:
    """Write an image and look whether all of it is there, which ITK's own writers of NIfTI and GIPL do not.

    `ending`: of the path, in lower case. Raises `RuntimeError`, as ITK does.
    """
    sitk.WriteImage(image, str(path), useCompression=True)
    voxels = image.GetNumberOfPixels() * image.GetNumberOfComponentsPerPixel() * image.GetSizeOfPixelComponent()
    try:
        if ending in NIFTI_ENDINGS:
            require_sound_nifti(path)
        else:
            require_whole(path, ending, voxels)
    except DataError as error:
        raise RuntimeError(f"it was not written as a whole ({error})") from error
