"""Copies of files on another grid: with another file's header, or resampled in physical space.

Originals are never written to; a copy lies in a sibling folder, `labelsTr/a.nii.gz` in `labelsTr_resample/a.nii.gz`.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from segfw.core.errors import DataError
from segfw.core.imaging.grids import compare_grids
from segfw.core.types import Geometry, Volume
from segfw.io.formats.images import image_on_grid
from segfw.io.formats.readers import NATURAL_ENDINGS, ending_of, read_image, read_label, write_label
from segfw.io.formats.writing import write_by_itk

Fix = Literal["copy_header", "resample"]
WRITTEN_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")  # they keep a direction; of other files the copy is NIfTI
SAME_GRID = 1e-5


def repair_file(path: Path, reference: Path, fix: Fix, is_label: bool) -> Path:
    """Write a copy of `path` that lies on the grid of the image `reference` and return where it is.

    A copy that is there already is left. `DataError` says why a file cannot be repaired so: its shape, grids that do
    not overlap, a format without positions, or another file in the copy's place.
    """
    for file in (path, reference):
        if file.name.lower().endswith(NATURAL_ENDINGS):
            raise DataError(f"{file.name} states no position in space")
    volume = read_label(path) if is_label else read_image([path])
    grid = read_image([reference])
    if grid.geometry is None or len(volume.array) != 1:
        raise DataError(f"{path.name} and {reference.name} are not one volume each")
    array = _on_same_voxels(volume, grid) if fix == "copy_header" else _resampled(volume, grid, is_label)
    target = copy_path(path, fix)
    if target.exists():
        _require_same(target, Volume(array[np.newaxis], grid.spacing, grid.geometry), is_label)
    elif is_label:
        write_label(target, array.astype(np.int32), grid.geometry)
    else:
        _write_image(target, array, grid.geometry)
    return target


def copy_path(path: Path, fix: Fix) -> Path:
    """Return where the repaired copy of `path` lies."""
    folder = path.parent.with_name(f"{path.parent.name}_{fix}")
    if path.is_dir():  # a DICOM series
        return folder / f"{path.name}.nii.gz"
    ending = ending_of(path)
    return folder / (path.name.removesuffix(ending) + (ending if ending.lower() in WRITTEN_ENDINGS else ".nii.gz"))


def _on_same_voxels(volume: Volume, grid: Volume) -> NDArray[np.generic]:
    if volume.shape != grid.shape:
        raise DataError("a header cannot be copied to another shape; use verify.fix=resample")
    voxels: NDArray[np.generic] = volume.array[0]
    return voxels


def _resampled(volume: Volume, grid: Volume, is_label: bool) -> NDArray[np.generic]:
    """Return the voxels (Z, Y, X) on `grid`: nearest for labels; linear for images, their minimum where none was."""
    if volume.geometry is None or grid.geometry is None or volume.geometry.ndim != grid.geometry.ndim:
        raise DataError("a 2D and a 3D file cannot be resampled onto each other; use verify.fix=copy_header")
    moved = image_on_grid(volume.array[0], volume.geometry)
    target = image_on_grid(grid.array[0], grid.geometry)
    covered = sitk.Image(moved.GetSize(), sitk.sitkUInt8) + 1
    covered.CopyInformation(moved)
    nearest = sitk.sitkNearestNeighbor
    if not sitk.GetArrayFromImage(sitk.Resample(covered, target, sitk.Transform(), nearest, 0)).any():
        raise DataError("the grids do not overlap in space; use verify.fix=copy_header if they are meant to be one")
    around = 0.0 if is_label else float(volume.array.min())
    found = sitk.Resample(moved, target, sitk.Transform(), nearest if is_label else sitk.sitkLinear, around)
    array = sitk.GetArrayFromImage(found).reshape(grid.shape)
    if is_label and volume.array.any() and not array.any():
        raise DataError("no labelled voxel lies inside the image; use verify.fix=copy_header if the grids are one")
    return array


def _require_same(target: Path, wanted: Volume, is_label: bool) -> None:
    present = read_label(target) if is_label else read_image([target])
    if compare_grids(wanted, present, SAME_GRID) or not np.array_equal(present.array, wanted.array):
        raise DataError(f"{target} is there and holds something else; delete it or move it away")


def _write_image(path: Path, array: NDArray[np.generic], geometry: Geometry) -> None:
    """Write an image, as int16 where that holds every value, else as float32."""
    smaller = array.astype(np.int16) if np.abs(array).max() < 2**15 else array
    written = smaller if np.array_equal(smaller, array) else array.astype(np.float32)
    write_by_itk(path, image_on_grid(written, geometry))
