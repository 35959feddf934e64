"""Unpack an archive from anywhere without trusting it: tar (plain, gz, xz) and zip.

Only names and bytes are taken over, no links, devices, owners or modes. A name that would leave the folder, or mean
something else on another system, refuses the whole archive. What is unpacked appears whole or not at all.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from segfw.core.errors import DataError, JobError
from segfw.core.support.files import temporary_beside
from segfw.io.fetching.archives import BLOCK, DAMAGE, DamagedArchive, Member, archive_kind, members
from segfw.io.fetching.fetch import require_space

CLUSTER = 4096  # bytes that the smallest file takes on a disk
MAX_RATIO = 100  # bytes unpacked for each of the archive; images rarely reach 10
ALWAYS_ALLOWED = 2**28  # bytes: small archives of zeros are harmless
MAX_NAME = 255  # bytes, of one part of a path
MAX_PATH = 1024  # bytes
LITTER = ("__MACOSX", ".DS_Store")


def unpack(archive: Path, folder: Path, check: Callable[[], None]) -> None:
    """Unpack the one dataset of `archive` as `folder`: in a temporary folder beside it, which is renamed.

    `check` is called before the renaming and may forbid it by raising. Raises `DamagedArchive`, `DataError` for
    content that is refused, and `JobError` for a full disk.
    """
    temporary = temporary_beside(folder)
    temporary.mkdir()
    try:
        try:
            _unpack_members(archive, temporary)
        except DAMAGE as error:
            raise DamagedArchive(f"the archive is not whole ({str(error) or type(error).__name__})") from error
        top = _top(temporary)
        check()
        if folder.is_dir():
            folder.rmdir()  # empty, else it would have counted as there
        top.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def holds_dataset(folder: Path) -> bool:
    """Whether `folder` looks like a dataset: a dataset.json, or a folder imagesTr."""
    return (folder / "dataset.json").is_file() or (folder / "imagesTr").is_dir()


def _top(folder: Path) -> Path:
    """Return the folder that holds the dataset: `folder`, or the only one in it."""
    content = sorted(folder.iterdir())
    for candidate in [folder, *content] if len(content) == 1 else [folder]:
        if holds_dataset(candidate):
            return candidate
    names = [path.name for path in content][:5]
    raise DataError(f"the archive holds no dataset: neither dataset.json nor imagesTr in {names}")


def _unpack_members(archive: Path, folder: Path) -> None:
    """Write every member under `folder`, after a look at all of them where that costs little."""
    kind = archive_kind(archive)
    limit = max(MAX_RATIO * archive.stat().st_size, ALWAYS_ALLOWED)
    if kind in ("zip", "tar"):
        total = 0
        for member, _ in _checked(members(archive, kind)):
            total = _within(total + member.size + CLUSTER, limit)
        require_space(folder, total, "what the archive holds")
    total = 0
    for member, path in _checked(members(archive, kind)):
        total = _within(total + member.size + CLUSTER, limit)
        _write(member, folder / path)


def _within(total: int, limit: int) -> int:
    if total > limit:
        raise DataError(
            f"the archive would unpack to more than {limit / 1e9:.2f} GB, which no dataset of its size does"
        )
    return total


def _checked(members: Iterator[Member]) -> Iterator[tuple[Member, PurePosixPath]]:
    """Yield members with their paths, without macOS's hidden twins (`._name`)."""
    for member in members:
        path = _safe_path(member.name)
        if path.parts and not any(part in LITTER or part.startswith("._") for part in path.parts):
            yield member, path


def _safe_path(name: str) -> PurePosixPath:
    """Return the relative path that `name` means; `DataError` if it could mean another place on any system."""
    path = PurePosixPath(name)
    why = ""
    if path.is_absolute() or re.match(r"[A-Za-z]:", name):
        why = "an absolute path"
    elif ".." in path.parts:
        why = "a path that leads upward"
    elif "\\" in name or any(ord(letter) < 32 for letter in name):
        why = "a name with a backslash or a control character"
    elif len(_bytes(name)) > MAX_PATH or any(len(_bytes(part)) > MAX_NAME for part in path.parts):
        why = f"a name that is too long ({len(_bytes(name))} bytes; {MAX_NAME} a part, {MAX_PATH} in all are allowed)"
    if why:
        shown = name if len(name) <= 100 else f"{name[:100]}..."
        raise DataError(f"the archive holds {why}: {shown!r}; it was not unpacked")
    return path


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _write(member: Member, path: Path) -> None:
    """Write one member. Nothing is ever written over, so that a name cannot come twice."""
    try:
        if member.open is None:
            path.mkdir(parents=True, exist_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as target, member.open() as source:
            _copy(source, target, member)
    except (FileExistsError, NotADirectoryError) as error:
        raise DataError(f"the archive holds {member.name!r} twice, or both as a file and as a folder") from error
    except DAMAGE:
        raise
    except OSError as error:
        why = error.strerror or error
        raise JobError(f"cannot write {path}: {why}; the archive is kept, give the same command again") from error


def _copy(source: IO[bytes], target: IO[bytes], member: Member) -> None:
    """Copy as many bytes as the archive's list says, to the end of which a zip checks its sum."""
    left = member.size
    while block := source.read(min(BLOCK, left)) if left else b"":
        target.write(block)
        left -= len(block)
    if left:
        raise DamagedArchive(f"the archive is not whole: {member.name!r} lacks {left} bytes")
    target.flush()
    os.fsync(target.fileno())
