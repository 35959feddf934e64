"""Files that are either whole or absent: written under a temporary name, synced, renamed.

What keeps them from being written is a `WriteError` that names the file: Python's own error names none where a disk is
full, and compiled writers speak of streams and positions if they say anything.
"""

import errno
import glob
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path

from segfw.core.errors import SegfwError, WriteError
from segfw.core.support.attempts import on_error

FULL = (errno.ENOSPC, errno.EDQUOT)
PROBE = 2**20
"""Bytes: more than the last blocks of a disk that a writer has filled."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and takes the name, on failure it is removed.

    The temporary name keeps the suffixes, so that writers which look at them work, and begins with a dot, so that
    listings skip it. Raises `WriteError` where the system does not let it be written.
    """
    temporary = temporary_beside(path)
    try:
        with writing(path, temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        _remove(temporary)


def writing(path: Path, begun: Path | None = None) -> AbstractContextManager[None, None]:
    """Let what the system refuses within the block be a `WriteError` that names `path`.

    `begun`: the file that the block writes. Where a compiled writer fails, a little more is written behind it, which
    tells what the system refuses; whoever gives it removes it then.
    """
    return on_error(partial(_explain, path, begun))


def _explain(path: Path, begun: Path | None, error: BaseException) -> None:
    """Raise the `WriteError` that `error` is, if the system lies behind it."""
    refusal = None if isinstance(error, SegfwError) else _refusal(error, begun)
    if refusal is not None:
        raise write_error(path, refusal) from error


def _refusal(error: BaseException, begun: Path | None) -> OSError | None:
    """Return what the system has refused: a numbered error says so itself, after others the file is written on."""
    told = error if isinstance(error, OSError) else None
    if begun is None or (told is not None and told.errno is not None):
        return told
    try:
        _append(begun)
    except OSError as refused:
        return refused
    return told


def write_error(path: Path, error: OSError) -> WriteError:
    """Return the error that says that, and why, `path` cannot be written."""
    why = error.strerror or str(error)
    other = error.filename is not None and not Path(str(error.filename)).name.endswith(path.name)
    why += f" ({error.filename})" if other else ""
    hint = "; make room and give the command again" if error.errno in FULL else ""
    explained = WriteError(f"cannot write {path}: {why}{hint}")
    explained.errno, explained.strerror, explained.filename = error.errno, why, str(path)
    return explained


def temporary_beside(path: Path) -> Path:
    """Return a new name beside `path` for what is not whole yet; `remove_remains(path)` finds what is left there."""
    return path.with_name(f".tmp-{uuid.uuid4().hex[:8]}-{path.name}")


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` at once or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def replace_text(path: Path, text: str) -> None:
    """Write `text` to `path` at once or not at all, without waiting for the disk: after a power cut it may be gone."""
    temporary = temporary_beside(path)
    try:
        with writing(path):
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
    finally:
        _remove(temporary)


def take_room(path: Path) -> None:
    """Take the room of a file of zeros on the disk, where the system can: a mapping without kills its process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def require_writable(path: Path) -> None:
    """Raise `WriteError` where a file could not be written at `path`, before work that it would be the end of."""
    temporary = temporary_beside(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        temporary.unlink()


def looked_for(path: Path) -> str:
    """Return in words where a path leads that is not there, also to those who took `~` for their home."""
    hint = " (~ is a name like any other here, write $HOME)" if any(p.startswith("~") for p in path.parts) else ""
    return f"{path.absolute()}{hint}"


def discard(folder: Path) -> None:
    """Remove a folder so that no half of it is ever found under its name: renamed first, then deleted."""
    grave = temporary_beside(folder)
    folder.rename(grave)
    shutil.rmtree(grave)


def names_of_remains(folder: Path) -> set[str]:
    """Return the names of files and folders of which killed processes have left a part in `folder`."""
    return {part.name[len(".tmp-12345678-") :] for part in folder.glob(".tmp-????????-*")}


def remove_remains(path: Path) -> None:
    """Remove what a killed process left beside `path` in writing or discarding it. Only for the holder of its lock."""
    _remove_all(path.parent.glob(f".tmp-????????-{glob.escape(path.name)}"))


def remove_remains_below(folder: Path) -> None:
    """Remove what killed processes left anywhere below `folder`, if it is there. Only for the holder of its lock."""
    _remove_all(folder.rglob(".tmp-????????-*"))


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_all(found: Iterable[Path]) -> None:
    for remains in list(found):
        if remains.is_dir() and not remains.is_symlink():
            shutil.rmtree(remains, ignore_errors=True)
        else:
            remains.unlink(missing_ok=True)


def _remove(temporary: Path) -> None:
    """Remove a file if it is there; what hinders it has hindered writing it, and is told there.

    Emptied first: a compiled writer that has failed may keep it open, and its room taken.
    """
    with suppress(OSError):
        os.truncate(temporary, 0)
        temporary.unlink()


def _append(path: Path) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(bytes(PROBE))
        file.write(b"0")  # of the others a part may have found room
        os.fsync(file.fileno())
