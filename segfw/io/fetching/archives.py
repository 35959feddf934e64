"""What tar archives (plain, gz, xz) and zip archives hold, one member after another, whatever their names say.

Members that are neither a file nor a folder (links, devices, sparse files) refuse the archive.
"""

import gzip
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from segfw.core.errors import DataError

BLOCK = 2**20
TAR_BLOCK = 512
MAX_READ = 2**22  # bytes at once
TAIL_BLOCKS = 16
MAGIC = {b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"\x1f\x8b": "gz", b"\xfd7zXZ\x00": "xz"}
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


class DamagedArchive(DataError):
    """The archive is no archive, or not whole; fetching it again may help."""


@dataclass(frozen=True)
class Member:
    """One entry of an archive. `open` is None for a folder."""

    name: str
    size: int
    open: Callable[[], IO[bytes]] | None


def archive_kind(archive: Path) -> str:
    """Return `zip`, `tar`, or how a tar is compressed: `gz`, `xz`; by content, whatever the name says.

    Raises `DamagedArchive` for anything else, with the title if it is a web page.
    """
    with archive.open("rb") as file:
        head = file.read(2**16)
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[257:262] == b"ustar" or _is_old_tar(head):
        return "tar"
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body|\?xml|error)", head, re.IGNORECASE):
        title = re.search(rb"<(?:title|message)[^>]*>\s*(.*?)\s*</", head, re.IGNORECASE | re.DOTALL)
        what = f": {title[1].decode(errors='replace')[:200]!r}" if title else ""
        raise DamagedArchive(f"got a web page instead of an archive{what}; check the address, it may need a login")
    raise DamagedArchive(
        f"got no tar or zip archive; it is {archive.stat().st_size} bytes and begins with {head[:16]!r}"
    )


def members(archive: Path, kind: str) -> Iterator[Member]:
    """Yield the members in order; one can be opened until the next is asked for."""
    if kind == "zip":
        with zipfile.ZipFile(archive) as packed:
            yield from _zip_members(packed)
    else:
        with _decompressed(archive, kind) as file, tarfile.open(fileobj=_frugal(file), mode="r:") as unpacked:
            yield from _tar_members(unpacked, file)


def _decompressed(archive: Path, kind: str) -> IO[bytes]:
    if kind == "gz":
        return cast(IO[bytes], gzip.GzipFile(archive))
    return lzma.LZMAFile(archive) if kind == "xz" else archive.open("rb")


def _zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    for info in archive.infolist():
        mode = stat.S_IFMT(info.external_attr >> 16)
        if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _neither(info.filename)
        if info.flag_bits & 1:
            raise DataError(f"the archive is encrypted ({info.filename!r}); unpack it by hand")
        if info.is_dir():
            yield Member(info.filename, 0, None)
            continue
        yield Member(info.filename, info.file_size, _zip_opener(archive, info))


def _zip_opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    def open_member() -> IO[bytes]:
        try:
            return archive.open(info)
        except NotImplementedError as error:
            raise DataError(f"the archive holds {info.filename!r}, which cannot be unpacked: {error}") from error

    return open_member


class _Frugal:
    """A file that never reads much at once: a tar may declare a header of any size, which tarfile reads whole."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """Read `size` bytes; `DataError` for more than any header of a dataset takes."""
        if not 0 <= size <= MAX_READ:
            raise DataError(
                f"the archive has a header of {size} bytes, at most {MAX_READ} are read; it was not unpacked"
            )
        return self.file.read(size)


def _frugal(file: IO[bytes]) -> IO[bytes]:
    """Return `file` as tarfile needs it: to read, seek and tell."""
    return cast(IO[bytes], _Frugal(file))


def _tar_members(archive: tarfile.TarFile, file: IO[bytes]) -> Iterator[Member]:
    """Yield the members of a tar. One without its end (a block of zeros) is not whole, which tarfile lets pass."""
    end = 0
    for info in archive:
        if not (info.isfile() or info.isdir()) or info.issparse():
            raise _neither(info.name)
        size = info.size if info.isfile() else 0
        end = info.offset_data + -(-size // TAR_BLOCK) * TAR_BLOCK
        yield Member(info.name, size, _tar_opener(archive, info) if info.isfile() else None)
    file.seek(end)
    if file.read(TAR_BLOCK) != bytes(TAR_BLOCK):
        raise DamagedArchive("the archive is not whole: its end is missing")
    for _ in range(TAIL_BLOCKS):  # a compressed one checks its sum where it ends
        if not file.read(BLOCK):
            break


def _tar_opener(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def open_member() -> Any:
        return archive.extractfile(info)

    return open_member


def _neither(name: str) -> DataError:
    return DataError(f"the archive holds {name!r}, which is neither a file nor a folder; it was not unpacked")


def _is_old_tar(head: bytes) -> bool:
    """Whether this is a tar without a signature (before 1988): its checksum is right."""
    try:
        tarfile.TarInfo.frombuf(head[:TAR_BLOCK], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
