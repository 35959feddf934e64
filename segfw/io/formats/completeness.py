"""Refuse image files that end too early, where ITK would fill the rest with zeros and say nothing.

When it reads the voxels, ITK itself notices truncated NRRD, MetaImage, MINC, PNG and DICOM files, tifffile TIFF ones.
The sizes of NRRD, MetaImage and PNG files are looked at here, too, for where the header alone is read.
"""

import gzip
import math
import re
import zlib
from pathlib import Path

from segfw.core.errors import DataError
from segfw.io.formats.credibility import DEFLATE_LIMIT, require_packable
from segfw.io.formats.endings import NIFTI_ENDINGS, PAIR_ENDINGS
from segfw.io.formats.nifti_layout import files_of, is_packed, read_layout

VTK_HEADER = re.compile(rb"# vtk.*?\nBINARY\n.*?\n(LOOKUP_TABLE [^\n]*|VECTORS [^\n]*)\n", re.DOTALL)
NRRD_HEADER = re.compile(rb"NRRD.*?(?P<blank>\n\r?\n|\Z)", re.DOTALL)
META_HEADER = re.compile(rb".*?^ElementDataFile\s*=[^\n]*\n", re.DOTALL | re.MULTILINE)
LONGEST_TEXT_HEADER = 2**16
JPEG_END, PNG_END = b"\xff\xd9", b"IEND"
RUN_LENGTHS = (1, 2)


def require_sound_nifti(path: Path) -> None:
    """Raise `DataError` if a NIfTI file is shorter than its header states, before ITK makes room for the voxels.

    Of `.hdr` and `.img`, either path will do. Also if the header is no NIfTI header, and if `case.nii` lies beside
    `case.nii.gz`: ITK takes the voxels of the former for both.
    """
    unpacked = path.with_name(path.name[: -len(".gz")])
    if path.suffix.lower() == ".gz" and unpacked.exists():
        raise DataError(
            f"cannot read {path}: {unpacked.name} lies beside it and would be read in its place; remove one"
        )
    header, voxels = files_of(path)
    if not (header.is_file() and voxels.is_file()):
        raise DataError(f"cannot read {path}: of {header.name} and {voxels.name}, one is missing")
    _require_voxels(path, voxels, _nifti_size(path, header))


def require_file(path: Path) -> None:
    """Raise `DataError` unless there is a regular file: what is read of a pipe or a device may never come, or end."""
    if not path.is_file():
        there = path.exists()
        raise DataError(f"cannot read {path}: {'this is no regular file' if there else 'there is no such file'}")


def require_whole(path: Path, ending: str, voxels: int) -> None:
    """Raise `DataError` if the file, whose header states so many bytes of voxels, is shorter than it should be.

    `ending` in lower case. NIfTI files have been looked at before. Where the header does not tell how many bytes there
    should be, the file passes, unless there are more than any compression could pack into it.
    """
    with path.open("rb") as file:
        head = file.read(LONGEST_TEXT_HEADER)
        file.seek(max(0, path.stat().st_size - 4096))
        tail = file.read()
    if ending in (".nrrd", ".nhdr") and (text := NRRD_HEADER.match(head)):
        _require_nrrd_voxels(path, text, voxels)
    elif ending in (".mha", ".mhd") and (text := META_HEADER.match(head)):
        _require_meta_voxels(path, text, voxels)
    elif ending in (".gipl", ".gipl.gz"):
        _require_bytes(path, 256 + voxels)
    elif ending == ".vtk" and (start := VTK_HEADER.match(head)):
        _require_bytes(path, start.end() + voxels)
    elif ending == ".mrc":
        _require_bytes(path, 1024 + int.from_bytes(head[92:96], "little") + voxels)
    elif ending == ".bmp":
        _require_bytes(path, max(int.from_bytes(head[2:6], "little"), _bitmap_size(head)))
    elif (ending in (".jpg", ".jpeg") and JPEG_END not in tail) or (ending == ".png" and PNG_END not in tail):
        raise DataError(f"cannot read {path}: the file is truncated, its end marker is missing")
    if ending not in (*NIFTI_ENDINGS, *PAIR_ENDINGS):
        require_packable(path, voxels, path.stat().st_size)


def _bitmap_size(head: bytes) -> int:
    """Return the bytes of a BMP's header and rows, each filled up to 4 bytes; 0 for one that is run-length encoded."""
    if len(head) < 34 or int.from_bytes(head[30:34], "little") in RUN_LENGTHS:
        return 0
    width, height = (abs(int.from_bytes(head[at : at + 4], "little", signed=True)) for at in (18, 22))
    bits = int.from_bytes(head[28:30], "little")
    return int.from_bytes(head[10:14], "little") + (width * bits + 31) // 32 * 4 * height


def _require_nrrd_voxels(path: Path, header: re.Match[bytes], voxels: int) -> None:
    stated = _fields(header[0], ":")
    name = stated.get("data file", stated.get("datafile", ""))
    file = path.parent / name
    if stated.get("encoding", "").lower() not in ("raw", "gzip", "gz") or {"line skip", "byte skip"} & stated.keys():
        return
    if file.is_file() if name else header["blank"]:  # else several files, or a header longer than what was read
        _require_voxels(path, file if name else path, voxels, 0 if name else header.end())


def _require_meta_voxels(path: Path, header: re.Match[bytes], voxels: int) -> None:
    stated = _fields(header[0], "=")
    name, packed = stated["elementdatafile"], stated.get("compresseddata", "false").lower() == "true"
    is_local, file = name.upper() == "LOCAL", path.parent / name
    needed = stated.get("compresseddatasize", "") if packed else str(voxels)
    if stated.get("binarydata", "true").lower() != "true":
        return
    if needed.isdigit() and "headersize" not in stated and (is_local or file.is_file()):
        file = path if is_local else file
        size, whole = file.stat().st_size, int(needed) + (header.end() if is_local else 0)
        _require_size(path if is_local else f"{path}: {file}", size, whole)


def _fields(header: bytes, separator: str) -> dict[str, str]:
    """Return key in lower case -> text of the header's lines."""
    lines = (line.partition(separator) for line in header.decode("latin-1").splitlines())
    return {key.strip().lower(): text.strip() for key, _, text in lines}


def _require_bytes(path: Path, needed: int, start: int = 0) -> None:
    """Raise `DataError` if the file, or what it unpacks to, has fewer bytes, those before `start` left out.

    A gzip file states the size of its content in the last four bytes; only where that differs is it unpacked.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 4))
        stated = int.from_bytes(file.read(4), "little")
    if not is_packed(path, start):
        _require_size(path, size, start + needed)
    elif stated != needed % 2**32:
        _require_size(path, _unpacked_size(path, start, needed), needed)
    else:
        require_packable(path, needed, size, DEFLATE_LIMIT)


def _require_voxels(path: Path, file: Path, needed: int, start: int = 0) -> None:
    """Raise as `_require_bytes` does for the file of the voxels, naming the file at `path` that is read, too."""
    try:
        _require_bytes(file, needed, start)
    except DataError as error:
        if file == path:
            raise
        raise DataError(f"cannot read {path}: {str(error).removeprefix('cannot read ')}") from error


def _require_size(path: Path | str, size: int, needed: int) -> None:
    if size < needed:
        raise DataError(f"cannot read {path}: the file is truncated, {size} of at least {needed} bytes are there")


def _nifti_size(path: Path, header: Path) -> int:
    """Return the bytes that the header of the NIfTI file at `path` asks for; `DataError` where it is none."""
    try:
        layout = read_layout(header)
    except zlib.error as error:
        raise DataError(f"cannot read {path}: the file is damaged ({error})") from error
    if layout is None:
        raise DataError(f"cannot read {path}: this is no NIfTI header")
    if any(size < 1 for size in layout.sizes):
        raise DataError(f"cannot read {path}: its header states axes of these sizes: {list(layout.sizes)}")
    if not all(map(math.isfinite, layout.spacing)):
        raise DataError(f"cannot read {path}: its header states a spacing (x first) of {list(layout.spacing)}")
    return layout.num_bytes


def _unpacked_size(path: Path, start: int, enough: int) -> int:
    """Unpack a gzip file from byte `start` on, to `enough` bytes, and count them; `DataError` where it breaks off."""
    unpacked = 0
    try:
        with path.open("rb") as packed:
            packed.seek(start)
            file = gzip.GzipFile(fileobj=packed)
            while unpacked < enough and (block := file.read(2**20)):
                unpacked += len(block)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"cannot read {path}: the file is truncated or damaged ({error})") from error
    return unpacked
