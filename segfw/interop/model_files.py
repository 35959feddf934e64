"""The files of a foreign model, in a folder or in a `.zip`, read one by one and with limits; nothing is unpacked.

Names are relative to the source, with `/`. A member of an archive is only ever read by the name that is asked for, and
a checkpoint is copied to a temporary file of our own naming, so that an archive cannot write anywhere.
"""

import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

from segfw.core.errors import ArtefactError
from segfw.core.support.files import looked_for, writing
from segfw.core.support.zip_reading import explaining_damage, leads_elsewhere

LARGEST_TEXT = 64 * 2**20
"""Bytes of a JSON file; a fingerprint of 10,000 cases takes 2 million."""
LARGEST_CHECKPOINT = 16 * 2**30
HIGHEST_RATIO = 100
"""Weights hardly shrink; only an archive that was made to fill the disk promises more."""


class ModelFiles(Protocol):
    """What reading a foreign model needs of where it lies."""

    @property
    def name(self) -> str:
        """What the source itself is called."""

    def find(self, pattern: str) -> list[str]:
        """Return the names that match, in order; each part of the pattern stands for one part of the name."""

    def read(self, name: str) -> bytes:
        """Return the content of a small file; `ArtefactError` if it is missing, damaged or too large."""

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """Yield a path under which the file can be read until the block ends."""

    def place(self, name: str) -> str:
        """Return how messages call the file."""


class FolderFiles:
    """The files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.resolve().name

    def find(self, pattern: str) -> list[str]:
        """See `ModelFiles`."""
        found = (path for path in self.folder.glob(pattern) if path.is_file())
        return sorted(path.relative_to(self.folder).as_posix() for path in found)

    def read(self, name: str) -> bytes:
        """See `ModelFiles`."""
        path = self.folder / name
        try:
            state = path.stat()
            if not stat.S_ISREG(state.st_mode):
                raise ArtefactError(f"{path} cannot be read: it is no file")
            size = state.st_size
            if size > LARGEST_TEXT:
                raise ArtefactError(f"{path} has {size} bytes; {LARGEST_TEXT} are allowed")
            return path.read_bytes()
        except OSError as error:
            raise ArtefactError(f"{path} cannot be read: {error.strerror}") from error

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """See `ModelFiles`."""
        yield self.folder / name

    def place(self, name: str) -> str:
        """See `ModelFiles`."""
        return str(self.folder / name)


class ArchiveFiles:
    """The files of a `.zip`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.stem
        with explaining_damage(f"{path} is no .zip that can be read"), zipfile.ZipFile(path) as archive:
            self._members = {member.filename: member for member in archive.infolist() if not member.is_dir()}

    def find(self, pattern: str) -> list[str]:
        """See `ModelFiles`."""
        wanted = pattern.split("/")
        names = ((name, name.split("/")) for name in self._members)
        return sorted(
            name
            for name, parts in names
            if len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted)) and not leads_elsewhere(name)
        )

    def read(self, name: str) -> bytes:
        """See `ModelFiles`."""
        with explaining_damage(f"{self.place(name)} cannot be read"), zipfile.ZipFile(self.path) as archive:
            return archive.read(self._checked(name, LARGEST_TEXT))

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """See `ModelFiles`."""
        with tempfile.TemporaryDirectory(prefix="segfw-", ignore_cleanup_errors=True) as folder:
            copy = Path(folder) / "member"
            with explaining_damage(f"{self.place(name)} cannot be read"), zipfile.ZipFile(self.path) as archive:
                member = self._checked(name, LARGEST_CHECKPOINT)
                with archive.open(member) as source, writing(copy), copy.open("wb") as target:
                    shutil.copyfileobj(source, target, 2**20)
            yield copy

    def place(self, name: str) -> str:
        """See `ModelFiles`."""
        return f"{self.path}: {name}" if name else str(self.path)

    def _checked(self, name: str, largest: int) -> zipfile.ZipInfo:
        if name not in self._members:
            raise ArtefactError(f"{self.place(name)} is missing")
        member = self._members[name]
        if member.file_size > min(largest, HIGHEST_RATIO * max(member.compress_size, 1)):
            raise ArtefactError(
                f"{self.place(name)} would unpack from {member.compress_size} to {member.file_size} bytes; at most "
                f"{largest} and {HIGHEST_RATIO} times its packed size are allowed"
            )
        return member


def open_files(source: Path) -> ModelFiles:
    """Return the files at `source`, a folder or a `.zip`."""
    if source.is_dir():
        return FolderFiles(source)
    if not source.is_file():
        raise ArtefactError(f"there is neither a folder nor a .zip {looked_for(source)}")
    if source.suffix == ".pth":
        raise ArtefactError(
            f"{source} is a checkpoint alone: give the trained model's folder, which has plans.json and dataset.json"
        )
    return ArchiveFiles(source)
