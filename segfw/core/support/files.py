"""Files that are either whole or absent: written under a temporary name, synced, renamed."""

import glob
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and takes the name, on failure it is removed.

    The temporary name keeps the suffixes, so that writers which look at them work, and begins with a dot, so that
    listings skip it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` at once or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def replace_text(path: Path, text: str) -> None:
    """Write `text` to `path` at once or not at all, without waiting for the disk: after a power cut it may be gone."""
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def discard(folder: Path) -> None:
    """Remove a folder so that no half of it is ever found under its name: renamed first, then deleted."""
    grave = folder.with_name(f".tmp-{uuid.uuid4().hex[:8]}-{folder.name}")
    folder.rename(grave)
    shutil.rmtree(grave)


def remove_remains(path: Path) -> None:
    """Remove what a killed process left beside `path` in writing or discarding it. Only for the holder of its lock."""
    for remains in path.parent.glob(f".tmp-????????-{glob.escape(path.name)}"):
        if remains.is_dir():
            shutil.rmtree(remains, ignore_errors=True)
        else:
            remains.unlink(missing_ok=True)


def remove_remains_below(folder: Path) -> None:
    """Remove what killed processes left anywhere below `folder`, if it is there. Only for the holder of its lock."""
    for remains in list(folder.rglob(".tmp-????????-*")):
        if remains.is_dir():
            shutil.rmtree(remains, ignore_errors=True)
        else:
            remains.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
