"""TIFF files: 2D images, volumes of pages, OME-TIFF and ImageJ stacks.

How the pages are taken is decided by what the file states, never by their number: Z, or pages of which nothing is
stated, are slices (three grey pages are a volume, no color image); C of OME and ImageJ and the samples of a pixel are
channels; time points are refused, and so is everything that leaves a choice. A file of one page is a 2D image like a
PNG, unless it states Z or has a spacing beside it.

Pixels are read by tifffile, which knows the metadata; by ITK where that needs a codec which is not installed (LZW,
JPEG), provided both see the same shape and type.
"""

import logging
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import tifffile
from numpy.typing import DTypeLike, NDArray

from segfw.core.errors import DataError
from segfw.core.support.files import atomic_path
from segfw.core.types import Geometry, IntArray, Spacing, Volume
from segfw.io.formats.credibility import require_memory, require_packable
from segfw.io.formats.endings import OME_ENDINGS, ending_of
from segfw.io.formats.images import NATURAL_SPACING, FileImage, label_values, plain_geometry, reason
from segfw.io.formats.tiff_chain import require_ending_chain
from segfw.io.formats.tiff_spacing import (
    pixel_size,
    sidecar,
    spacing_beside,
    spacing_inside,
    warn_of_missing_spacing,
    write_spacing_beside,
)

DAMAGE = ("invalid", "corrupted", "failed to", "missing", "truncated")  # in what tifffile logs and reads on after
# what tifffile was seen to raise for files with bytes changed at random
DAMAGED_FILE_ERRORS = (
    ArithmeticError,
    AssertionError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True)
class Layout:
    """How a TIFF file's pixels lie, without the pixels.

    `axes`: a letter for each axis of the pixels: Z, C, Y, X, S (samples of a pixel). `spacing`: None where none is
    stated. `pixel_size`: (Y, X) of a 2D image, by the resolution it states, else 1. `has_alpha`: whether the last
    sample is an alpha channel.
    """

    axes: str
    is_volume: bool
    spacing: Spacing | None
    pixel_size: Spacing
    has_alpha: bool


def read_tiff(path: Path, is_label: bool = False, dtype: DTypeLike | None = None) -> FileImage:
    """Read a TIFF file's pixels, as `dtype` (None: its own type), with the spacing found inside or beside it.

    Of a label map, a palette's indices are the values; of an image, the palette's colors are channels. Raises
    `DataError` for what leaves a choice (see above), for a damaged file and for pixels that are no numbers.
    """
    with _opened(path) as tiff:
        layout, series = _layout(tiff, path), tiff.series[0]
        _require_room(series, path, dtype)
        try:
            pixels = series.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            pixels = _pixels_by_itk(path, series)
        axes, page = layout.axes, series.keyframe
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE and not is_label and not tiff.is_imagej:
            if page.colormap is None:
                raise DataError(f"cannot read {path}: its palette is missing")
            pixels, axes = np.moveaxis(page.colormap[:, pixels] >> 8, 0, -1).astype(np.uint8), axes + "S"
    if pixels.dtype.kind == "b":
        pixels = pixels.astype(np.uint8)
    if pixels.dtype.kind not in "iuf":
        raise DataError(f"{path}: pixels must be integers or real numbers, got {pixels.dtype}")
    if pixels.size == 0:
        raise DataError(f"cannot read {path}: it has no pixels, its shape is {pixels.shape}")
    if layout.is_volume and layout.spacing is None:
        warn_of_missing_spacing(path)
    array = np.array(_channels_first(pixels, axes), dtype or pixels.dtype.newbyteorder("="), order="C")
    geometry = _geometry(layout, path)
    spacing = geometry.spacing if layout.is_volume else NATURAL_SPACING
    return FileImage(Volume(array, spacing, geometry), layout.has_alpha)


def tiff_geometry(path: Path) -> Geometry:
    """Read a TIFF file's grid without its pixels; raises as `read_tiff` does."""
    with _opened(path) as tiff:
        layout = _layout(tiff, path)
        _require_whole(tiff, path)
        return _geometry(layout, path)


def tiff_states_spacing(path: Path) -> bool:
    """Whether a TIFF file is a volume whose spacing is stated inside or beside it; raises as `read_tiff` does."""
    with _opened(path) as tiff:
        return _layout(tiff, path).spacing is not None


def samples_of_tiff(path: Path) -> int:
    """Return how many values a pixel of a TIFF file's first page has; `DataError` for a damaged file."""
    with _opened(path) as tiff:
        return int(tiff.pages.first.samplesperpixel)


def write_tiff_label(path: Path, array: IntArray, geometry: Geometry) -> None:
    """Write a label map (Z, Y, X) as pages, compressed; its spacing goes into OME metadata or a file beside it."""
    values = label_values(array)
    metadata: dict[str, object] = {"axes": "ZYX"}
    if is_ome := ending_of(path).lower() in OME_ENDINGS:
        for axis, size in zip("ZYX", geometry.spacing, strict=True):
            metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "mm"}
    if len(values) == 1 or not is_ome or sidecar(path).exists():  # OME has no word for a volume of one slice
        write_spacing_beside(path, geometry.spacing)
    with atomic_path(path) as temporary:
        tifffile.imwrite(temporary, values, photometric="minisblack", compression="zlib", metadata=metadata, ome=is_ome)


@contextmanager
def _opened(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF file; whatever tifffile raises or only logs of damage becomes a `DataError` that names the file."""
    log, complaints = logging.getLogger("tifffile"), _Complaints()
    propagate, log.propagate = log.propagate, False
    log.addHandler(complaints)
    try:
        require_ending_chain(path)
        with tifffile.TiffFile(path) as tiff:
            yield tiff
    except (DataError, *DAMAGED_FILE_ERRORS) as error:
        if isinstance(error, DataError) and not complaints.heard:
            raise
        reasons = [*complaints.heard, str(error), type(error).__name__]
        raise DataError(f"cannot read {path}: {next(filter(None, reasons))}") from error
    finally:
        log.removeHandler(complaints)
        log.propagate = propagate
    if complaints.heard:
        raise DataError(f"cannot read {path}: {complaints.heard[0]}")


class _Complaints(logging.Handler):
    """Collects what tifffile logs of damage in this thread: it reads on after a truncated ImageJ stack."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []
        self.thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.thread == self.thread and any(word in message for word in DAMAGE):
            self.heard.append(message)


def _layout(tiff: tifffile.TiffFile, path: Path) -> Layout:
    if len(tiff.series) != 1:
        shapes = [f"{series.axes} {series.shape}" for series in tiff.series[:10]]
        raise DataError(f"{path}: holds {len(tiff.series)} images, where one is read: {shapes}; write each to a file")
    series = tiff.series[0]
    if any(page is None for page in series.pages):
        raise DataError(f"{path}: pages are missing; it may be one file of an OME set of several, which are not read")
    if series.keyframe.photometric == tifffile.PHOTOMETRIC.SEPARATED:
        raise DataError(f"{path}: CMYK colors are not read; convert the image to RGB")
    axes = _known_axes(series, path)
    beside = spacing_beside(path)
    is_volume = "Z" in axes or (beside is not None and "S" not in axes)
    page = series.keyframe
    alpha = "S" in axes and any(int(kind) in (1, 2) for kind in page.extrasamples)
    spacing = beside or spacing_inside(tiff) if is_volume else None
    return Layout(axes, is_volume, spacing, pixel_size(tiff.pages.first), alpha)


def _require_whole(tiff: tifffile.TiffFile, path: Path) -> None:
    """Raise `DataError` if pixels should lie beyond the file's end."""
    series, size = tiff.series[0], tiff.filehandle.size
    if series.dataoffset is not None:
        end = series.dataoffset + series.nbytes
    else:
        pieces = [zip(page.dataoffsets, page.databytecounts, strict=True) for page in series.pages if page is not None]
        end = max(start + length for piece in pieces for start, length in piece)
    if size < end:
        raise DataError(f"cannot read {path}: the file is truncated, {size} of at least {end} bytes are there")


def _require_room(series: tifffile.TiffPageSeries, path: Path, dtype: DTypeLike | None) -> None:
    """Raise `DataError` for more pixels than the file can hold, or than there is memory for, also as `dtype`."""
    if series.dtype is None:
        raise DataError(f"cannot read {path}: its pixels are of no known type")
    require_packable(path, series.nbytes, path.stat().st_size)
    require_memory(path, series.nbytes, series.size * np.dtype(dtype or series.dtype).itemsize)


def _known_axes(series: tifffile.TiffPageSeries, path: Path) -> str:
    """Return the axes in our letters: pages of which nothing is stated are slices; `DataError` where it is unclear."""
    sizes = list(zip(series.axes, series.shape, strict=True))
    if any(axis == "T" and size > 1 for axis, size in sizes):
        frames = dict(sizes)["T"]
        raise DataError(
            f"{path}: states {frames} time points (axes {series.axes}); write one file for each, or, "
            f"if they are slices, say so (in ImageJ: Image > Properties, frames to slices)"
        )
    unnamed = [axis for axis, size in sizes if axis not in "ZCYXST" and size > 1]
    if len(unnamed) + (series.axes.count("Z") if unnamed else 0) > 1 or not {"X", "Y"} <= set(series.axes):
        raise DataError(
            f"{path}: pages of shape {series.shape} and axes {series.axes}: it is not stated which are slices and "
            f"which are channels; write it as OME-TIFF, or as .nii.gz"
        )
    return "".join("Z" if axis in unnamed else axis for axis in series.axes)


def _channels_first(pixels: NDArray[np.generic], axes: str) -> NDArray[np.generic]:
    """Return (C, Z, Y, X): channels C, then the samples S of each."""
    for axis in "ZSC":
        if axis not in axes:
            pixels, axes = pixels[np.newaxis], axis + axes
    pixels = pixels.squeeze(tuple(i for i, axis in enumerate(axes) if axis not in "CSZYX"))
    axes = "".join(axis for axis in axes if axis in "CSZYX")
    ordered = pixels.transpose([axes.index(axis) for axis in "CSZYX"])
    return ordered.reshape(-1, *ordered.shape[2:])


def _pixels_by_itk(path: Path, series: tifffile.TiffPageSeries) -> NDArray[np.generic]:
    """Read the pixels with ITK's own codecs, if it sees what tifffile's metadata say; else `DataError`."""
    compression = tifffile.COMPRESSION(series.keyframe.compression).name
    advice = f"its compression {compression} is not read; pip install imagecodecs, or write it with zlib"
    in_order = [page.index for page in series.pages if page] == list(range(len(series.pages)))
    if not in_order or not series.axes.endswith(("YX", "YXS")):
        raise DataError(f"cannot read {path}: {advice}")
    try:
        pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="TIFFImageIO"))
    except RuntimeError as error:
        raise DataError(f"cannot read {path}: {advice} ({reason(error)})") from error
    if pixels.size != np.prod(series.shape) or pixels.dtype != series.dtype.newbyteorder("="):
        raise DataError(f"cannot read {path}: {advice}")
    return pixels.reshape(series.shape)


def _geometry(layout: Layout, path: Path) -> Geometry:
    """Return the grid: of a volume its spacing, 1 mm where none is stated; of a 2D image what its resolution says."""
    try:
        return plain_geometry((layout.spacing or (1.0, 1.0, 1.0)) if layout.is_volume else layout.pixel_size)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
