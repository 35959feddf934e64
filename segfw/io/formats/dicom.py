"""Folders that hold one DICOM series, read as a volume.

A file is DICOM by its magic number, whatever it is called. Every slice is read by itself and ordered by its position,
because a series reader assumes what is to be checked here: that the slices belong together, that none is missing, and
that one intensity scale holds for all of them (in PET each slice has its own, and ITK's series reader would cut all to
the first one's type).
"""

import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import DTypeLike

from segfw.core.errors import DataError
from segfw.core.types import Geometry, Spacing, Volume
from segfw.io.formats.dicom_elements import require_sound_elements
from segfw.io.formats.endings import is_known
from segfw.io.formats.images import geometry_of, reason, same_locale, slice_spacing

STEP_TOLERANCE = 0.1  # of the usual step between slices; scanners round positions, a missing slice is off by 1.0
GRID_TOLERANCE = 1e-4  # of spacing and direction cosines between slices
LISTED = 10
MAX_DEPTH = 5  # of patient, study, series and what an archive puts above them

SOP_CLASSES = "1.2.840.10008.5.1.4.1.1."
NO_IMAGES = (  # what lies beside the slices: directories, plans, contours, reports, annotations
    "1.2.840.10008.1.3.10",
    *(SOP_CLASSES + kind for kind in ("11.", "66", "88.", "104.", "481.3", "481.4", "481.5", "481.8", "481.9")),
)
LONG_VALUES = (b"OB", b"OW", b"OF", b"SQ", b"UT", b"UN")

UID, DESCRIPTION, MODALITY = "0020|000e", "0008|103e", "0008|0060"
POSITION = "0020|0032"


@dataclass(frozen=True)
class Slice:
    """A DICOM file's header: the series it is of, and where its pixels lie. Numbers in ITK's order (x, y, z)."""

    path: Path
    series: str
    description: str
    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    geometry: Geometry
    components: int
    has_position: bool

    @property
    def normal(self) -> tuple[float, ...]:
        """The direction from slice to slice."""
        return self.geometry.direction[0]


def is_dicom(path: Path) -> bool:
    """Whether `path` is a DICOM image or a folder that itself holds one."""
    return _is_dicom_image(path) or is_dicom_folder(path)


def is_dicom_folder(path: Path) -> bool:
    """Whether the folder itself holds a DICOM image; what else lies there does not matter."""
    return path.is_dir() and any(_is_dicom_image(file) for file in sorted(path.iterdir()))


def holds_no_image(path: Path) -> bool:
    """Whether a file is DICOM, but of a class without an image, such as a segmentation beside the slices."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(1024)
    return head[128:132] == b"DICM" and _object_class(head).startswith(NO_IMAGES)


def slice_files(path: Path) -> tuple[Path, ...]:
    """Return the files of a folder's only series in the order of `read_series`' slices; a file is its own."""
    return tuple(piece.path for piece in _ordered(path)) if path.is_dir() else (path,)


def series_folders(folder: Path, depth: int = MAX_DEPTH) -> list[Path]:
    """Return the folders, `folder` and those below it to `depth`, that hold a DICOM image; hidden ones are skipped."""
    found = [folder] if is_dicom_folder(folder) else []
    if depth > 0:
        below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        found += [series for path in below for series in series_folders(path, depth - 1)]
    return found


def require_series(folder: Path) -> None:
    """Raise `DataError` unless the folder itself holds a DICOM image, naming folders below it that do."""
    if is_dicom_folder(folder):
        return
    below = series_folders(folder)
    if not below:
        raise DataError(f"cannot read {folder}: this folder holds no DICOM series")
    more = f" (and {len(below) - 1} more)" if len(below) > 1 else ""
    raise DataError(
        f"cannot read {folder}: this folder holds no DICOM series itself, name {below[0]}, which does{more}"
    )


def read_series(folder: Path, dtype: DTypeLike | None = None) -> Volume:
    """Read a folder's only DICOM series, rescaled as its slices state, as `dtype` (None: the type that holds it).

    A single slice is a 2D image, far from any neighbor: ITK knows no distance for it.
    Raises `DataError` for several series (listing them), slices of differing size, spacing or orientation, missing,
    doubled or sheared slices and slices that cannot be read.
    """
    slices = _ordered(folder)
    arrays = []
    for piece in slices:
        image = _read_slice(piece.path)
        array = sitk.GetArrayViewFromImage(image)
        if array.dtype.kind not in "iuf":
            raise DataError(f"{piece.path}: pixels must be numbers, got {image.GetPixelIDTypeAsString()}")
        arrays.append(np.array(array[np.newaxis] if piece.components == 1 else np.moveaxis(array, -1, 0)))
    geometry = _geometry(slices)
    array = np.concatenate(arrays, axis=1, dtype=dtype, casting="unsafe" if dtype is not None else "same_kind")
    spacing = slice_spacing(geometry.spacing[1:]) if array.shape[1] == 1 else geometry.spacing
    try:
        return Volume(array, spacing, geometry)
    except ValueError as error:
        raise DataError(f"{folder}: {error}") from error


def series_geometry(folder: Path) -> Geometry:
    """Read where the voxels of a folder's only series lie from the headers alone; raises as `read_series` does."""
    return _geometry(_ordered(folder))


def _is_dicom_image(path: Path) -> bool:
    """Whether a file is a DICOM image, from its first bytes: the magic number and the class of object they state."""
    if path.name.startswith(".") or (is_known(path) and path.suffix.lower() != ".dcm") or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(1024)
    return head[128:132] == b"DICM" and not _object_class(head).startswith(NO_IMAGES)


def _object_class(head: bytes) -> str:
    """Return the SOP class UID of a DICOM file's first group, empty where it is not found.

    That group is always little endian with explicit types: tag (2 x 2 bytes), type (2), length (2, or 2 + 4), value.
    """
    place = 132
    while place + 12 <= len(head):
        group, element, kind, length = struct.unpack_from("<HH2sH", head, place)
        place += 8
        if kind in LONG_VALUES:
            length = struct.unpack_from("<I", head, place)[0]
            place += 4
        if group != 2:
            break
        if element == 2:
            return head[place : place + length].rstrip(b"\0 ").decode("ascii", "replace")
        place += length
    return ""


def _ordered(folder: Path) -> list[Slice]:
    """Read the headers of a folder's only series and check that its slices, in order, make one grid."""
    require_series(folder)
    slices = [_read_header(path) for path in sorted(folder.iterdir()) if _is_dicom_image(path)]
    _require_one_series(folder, slices)
    if len(slices) == 1:
        return slices
    _require_one_grid(folder, slices)
    normal = slices[0].normal
    slices.sort(key=lambda piece: float(np.dot(piece.origin, normal)))
    _require_even_steps(folder, slices)
    return slices


def _read_header(path: Path) -> Slice:
    require_sound_elements(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        with same_locale():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise DataError(f"cannot read the DICOM file {path}: {reason(error)}") from error

    def text(tag: str) -> str:
        return str(reader.GetMetaData(tag)).strip(" \0") if reader.HasMetaDataKey(tag) else ""

    try:
        geometry = geometry_of(reader, 3)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return Slice(
        path=path,
        series=text(UID),
        description=f"{text(DESCRIPTION) or 'no description'} ({text(MODALITY) or 'no modality'})",
        size=reader.GetSize(),
        spacing=reader.GetSpacing(),
        origin=reader.GetOrigin(),
        geometry=geometry,
        components=reader.GetNumberOfComponents(),
        has_position=reader.HasMetaDataKey(POSITION),
    )


def _read_slice(path: Path) -> sitk.Image:
    try:
        with same_locale():
            return sitk.ReadImage(str(path), imageIO="GDCMImageIO")
    except RuntimeError as error:
        raise DataError(f"cannot read the DICOM file {path}: {reason(error)}") from error


def _require_one_series(folder: Path, slices: list[Slice]) -> None:
    series: dict[str, list[Slice]] = {}
    for piece in slices:
        series.setdefault(piece.series, []).append(piece)
    if len(series) == 1:
        return
    shown = [
        f"{found[0].description}, {len(found)} file{'s' * (len(found) != 1)} such as {found[0].path.name}, "
        f"UID ...{uid[-8:]}"
        for uid, found in list(series.items())[:LISTED]
    ]
    more = f"; and {len(series) - LISTED} more" if len(series) > LISTED else ""
    raise DataError(
        f"{folder} holds {len(series)} DICOM series, where one is read: {'; '.join(shown)}{more}. "
        f"Put each into a folder of its own"
    )


def _require_one_grid(folder: Path, slices: list[Slice]) -> None:
    """Raise `DataError` unless every slice is one frame at a stated position, with the same pixels' grid."""
    first = slices[0]
    for piece in slices:
        where = f"{folder}: the slices of a series must agree"
        if not piece.has_position or piece.size[2:] != (1,):
            raise DataError(
                f"{piece.path}: one of {len(slices)} files of a series must be one slice with a position (tag "
                f"0020,0032); this one has size {piece.size} and {'a' if piece.has_position else 'no'} position"
            )
        if piece.size != first.size or piece.components != first.components:
            raise DataError(
                f"{where} in size: {first.path.name} has {first.size[:2]} pixels of {first.components} values, "
                f"{piece.path.name} has {piece.size[:2]} of {piece.components}"
            )
        if not np.allclose(piece.spacing[:2], first.spacing[:2], rtol=GRID_TOLERANCE, atol=0):
            raise DataError(
                f"{where} in pixel spacing (x, y): {first.path.name} has {first.spacing[:2]}, "
                f"{piece.path.name} has {piece.spacing[:2]}"
            )
        if not np.allclose(piece.geometry.direction, first.geometry.direction, rtol=0, atol=GRID_TOLERANCE):
            raise DataError(
                f"{where} in orientation: {first.path.name} has the axes (z, y, x) {first.geometry.direction}, "
                f"{piece.path.name} has {piece.geometry.direction}"
            )


def _require_even_steps(folder: Path, slices: list[Slice]) -> None:
    """Raise `DataError` for doubled and missing slices and for a stack that leans (a tilted gantry)."""
    origins = np.array([piece.origin for piece in slices])
    steps = np.diff(origins @ np.array(slices[0].normal))
    usual = float(np.median(steps))
    for step, (before, after) in zip(steps, pairwise(slices), strict=True):
        if step < 1e-3 * max(usual, 1e-3):
            raise DataError(
                f"{folder}: two slices lie at the same position {before.origin}: {before.path.name} and "
                f"{after.path.name}; separate time points, echoes or copies"
            )
    for step, (before, after) in zip(steps, pairwise(slices), strict=True):
        if abs(step - usual) > STEP_TOLERANCE * usual:
            missing = round(step / usual) - 1
            guess = f"; {missing} slices seem to be missing" if missing > 0 else ""
            guess = "; 1 slice seems to be missing" if missing == 1 else guess
            raise DataError(
                f"{folder}: the slices are not evenly spaced: {step:.6g} mm between {before.path.name} at "
                f"{before.origin} and {after.path.name} at {after.origin}, {usual:.6g} mm elsewhere{guess}"
            )
    across = origins - origins[0] - np.outer((origins - origins[0]) @ slices[0].normal, slices[0].normal)
    lean = float(np.linalg.norm(across, axis=1).max())
    if lean > STEP_TOLERANCE * usual:
        raise DataError(
            f"{folder}: the stack of slices leans, by {lean:.6g} mm in all (a tilted gantry); resample it to an "
            f"upright grid and give it as .nii.gz"
        )


def _geometry(slices: list[Slice]) -> Geometry:
    """Return the grid of ordered slices; the distance between them is the whole way over their number less one."""
    first, last = slices[0], slices[-1]
    spacing: Spacing = first.geometry.spacing
    if len(slices) > 1:
        way = np.subtract(last.origin, first.origin)
        spacing = (float(np.linalg.norm(way)) / (len(slices) - 1), *spacing[1:])
    return Geometry(spacing, first.geometry.origin, first.geometry.direction)
