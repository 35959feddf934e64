"""Refuse image files that end too early, where ITK would fill the rest with zeros and say nothing.

ITK itself notices truncated NRRD, PNG and TIFF files.
"""

import gzip
import zlib
from pathlib import Path

import SimpleITK as sitk

from segfw.core.errors import DataError

JPEG_END = b"\xff\xd9"


def require_whole(path: Path, ending: str, image: sitk.Image) -> None:
    """Raise `DataError` if the file at `path`, from which `image` was read, is shorter than it should be.

    `ending` in lower case.
    """
    size = path.stat().st_size
    if ending == ".nii.gz":
        _require_whole_gzip(path, _nifti_size(image))
    elif ending == ".nii":
        _require_size(path, size, _nifti_size(image))
    elif ending == ".gipl":
        _require_size(path, size, 256 + image.GetNumberOfPixels() * image.GetSizeOfPixelComponent())
    elif ending == ".bmp":
        with path.open("rb") as file:
            _require_size(path, size, int.from_bytes(file.read(6)[2:], "little"))
    elif ending in (".jpg", ".jpeg"):
        with path.open("rb") as file:
            file.seek(max(0, size - 4096))
            if JPEG_END not in file.read():
                raise DataError(f"cannot read {path}: the file is truncated, its end marker is missing")


def _require_size(path: Path, size: int, needed: int) -> None:
    if size < needed:
        raise DataError(f"cannot read {path}: the file is truncated, {size} of at least {needed} bytes are there")


def _nifti_size(image: sitk.Image) -> int:
    """Return the bytes of the uncompressed file as its header states them."""
    voxels = 1
    for axis in range(1, 8):
        voxels *= max(1, int(image.GetMetaData(f"dim[{axis}]")))
    return int(float(image.GetMetaData("vox_offset"))) + voxels * int(image.GetMetaData("bitpix")) // 8


def _require_whole_gzip(path: Path, needed: int) -> None:
    """Compare the size in the last four bytes; only where that differs, unpack the file to see whether it is whole."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(-4, 2)
        stated = int.from_bytes(file.read(4), "little")
    if not packed:
        _require_size(path, path.stat().st_size, needed)
    elif stated != needed % 2**32:
        unpacked = 0
        try:
            with gzip.open(path) as file:
                while block := file.read(2**20):
                    unpacked += len(block)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"cannot read {path}: the file is truncated or damaged ({error})") from error
        _require_size(path, unpacked, needed)
