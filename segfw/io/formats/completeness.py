"""Refuse image files that end too early, where ITK would fill the rest with zeros and say nothing.

When it reads the voxels, ITK itself notices truncated NRRD, MetaImage, MINC, PNG and DICOM files, tifffile TIFF ones.
Where the header alone is read, the sizes of NRRD, MetaImage and PNG files are looked at here, too.
"""

import gzip
import re
import zlib
from pathlib import Path

from segfw.core.errors import DataError
from segfw.io.formats.nifti_layout import files_of, is_packed, read_layout

VTK_HEADER = re.compile(rb"# vtk.*?\nBINARY\n.*?\n(LOOKUP_TABLE [^\n]*|VECTORS [^\n]*)\n", re.DOTALL)
NRRD_HEADER = re.compile(rb"NRRD.*?(?P<blank>\n\r?\n|\Z)", re.DOTALL)
META_HEADER = re.compile(rb".*?^ElementDataFile\s*=[^\n]*\n", re.DOTALL | re.MULTILINE)
LONGEST_TEXT_HEADER = 2**16
JPEG_END, PNG_END = b"\xff\xd9", b"IEND"
DEFLATE_LIMIT = 1032  # no stream of deflate unpacks to more than this many times its size


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
    _require_bytes(voxels, _nifti_size(header))


def require_whole(path: Path, ending: str, voxels: int) -> None:
    """Raise `DataError` if the file at `path`, which holds so many bytes of voxels, is shorter than it should be.

    `ending` in lower case. NIfTI files have been looked at before.
    """
    if ending not in (".gipl", ".gipl.gz", ".vtk", ".mrc", ".bmp", ".jpg", ".jpeg"):
        return
    with path.open("rb") as file:
        head = file.read(4096)
        file.seek(max(0, path.stat().st_size - 4096))
        tail = file.read()
    if ending in (".gipl", ".gipl.gz"):
        _require_bytes(path, 256 + voxels)
    elif ending == ".vtk" and (start := VTK_HEADER.match(head)):
        _require_bytes(path, start.end() + voxels)
    elif ending == ".mrc":
        _require_bytes(path, 1024 + int.from_bytes(head[92:96], "little") + voxels)
    elif ending == ".bmp":
        _require_bytes(path, int.from_bytes(head[2:6], "little"))
    elif ending in (".jpg", ".jpeg") and JPEG_END not in tail:
        raise DataError(f"cannot read {path}: the file is truncated, its end marker is missing")


def require_whole_unread(path: Path, ending: str, voxels: int) -> None:
    """Raise `DataError` as `require_whole` does, also for formats of which ITK notices it once it reads the voxels.

    Where the header does not tell how many bytes there should be, the file passes.
    """
    with path.open("rb") as file:
        head = file.read(LONGEST_TEXT_HEADER)
        file.seek(max(0, path.stat().st_size - 64))
        tail = file.read()
    if ending in (".nrrd", ".nhdr") and (text := NRRD_HEADER.match(head)):
        _require_nrrd_voxels(path, text, voxels)
    elif ending in (".mha", ".mhd") and (text := META_HEADER.match(head)):
        _require_meta_voxels(path, text, voxels)
    elif ending == ".png" and PNG_END not in tail:
        raise DataError(f"cannot read {path}: the file is truncated, its end marker is missing")
    else:
        require_whole(path, ending, voxels)


def _require_nrrd_voxels(path: Path, header: re.Match[bytes], voxels: int) -> None:
    stated = _fields(header[0], ":")
    name = stated.get("data file", stated.get("datafile", ""))
    file = path.parent / name
    if stated.get("encoding", "").lower() not in ("raw", "gzip", "gz") or {"line skip", "byte skip"} & stated.keys():
        return
    if file.is_file() if name else header["blank"]:  # else several files, or a header longer than what was read
        _require_bytes(file if name else path, voxels, 0 if name else header.end())


def _require_meta_voxels(path: Path, header: re.Match[bytes], voxels: int) -> None:
    stated = _fields(header[0], "=")
    name, packed = stated["elementdatafile"], stated.get("compresseddata", "false").lower() == "true"
    is_local, file = name.upper() == "LOCAL", path.parent / name
    needed = stated.get("compresseddatasize", "") if packed else str(voxels)
    if stated.get("binarydata", "true").lower() != "true":
        return
    if needed.isdigit() and "headersize" not in stated and (is_local or file.is_file()):
        file = path if is_local else file
        _require_size(file, file.stat().st_size, int(needed) + (header.end() if is_local else 0))


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
        _require_size(path, _unpacked_size(path, start), needed)
    elif needed > size * DEFLATE_LIMIT:
        raise DataError(f"cannot read {path}: its header states {needed} bytes, more than {size} packed bytes can hold")


def _require_size(path: Path, size: int, needed: int) -> None:
    if size < needed:
        raise DataError(f"cannot read {path}: the file is truncated, {size} of at least {needed} bytes are there")


def _nifti_size(path: Path) -> int:
    """Return the bytes that a NIfTI file's header asks for; `DataError` where it is none."""
    try:
        layout = read_layout(path)
    except zlib.error as error:
        raise DataError(f"cannot read {path}: the file is damaged ({error})") from error
    if layout is None:
        raise DataError(f"cannot read {path}: this is no NIfTI header")
    if any(size < 1 for size in layout.sizes):
        raise DataError(f"cannot read {path}: its header states axes of these sizes: {list(layout.sizes)}")
    return layout.num_bytes


def _unpacked_size(path: Path, start: int) -> int:
    """Unpack a gzip file from byte `start` on to count its bytes; `DataError` where it breaks off."""
    unpacked = 0
    try:
        with path.open("rb") as packed:
            packed.seek(start)
            file = gzip.GzipFile(fileobj=packed)
            while block := file.read(2**20):
                unpacked += len(block)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"cannot read {path}: the file is truncated or damaged ({error})") from error
    return unpacked
