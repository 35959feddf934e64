"""The files of a model package, from a folder or a `.zip`, read into memory within limits and never extracted.

A `.zip` comes from anywhere, so what it declares is not believed: a file that would be larger than any manifest, or
that unpacks to many times the archive, is refused before it is read, and no more is read than was declared.
"""

import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from segfw.core.errors import ArtefactError
from segfw.core.support.files import atomic_path, looked_for
from segfw.core.support.zip_reading import explaining_damage, leads_elsewhere

MANIFEST = "model.yaml"
MAX_MANIFEST = 2**22
"""Bytes; the manifest of a thousand channels has about one in ten of them."""
MAX_RATIO = 20
"""Bytes unpacked in all for each byte of a `.zip`; weights hardly shrink, those of a fresh norm by a factor of 10."""
ALWAYS_ALLOWED = 2**26
"""Bytes that any `.zip` may hold."""
BLOCK = 2**20
BEGINNING_OF_TIME = (1980, 1, 1, 0, 0, 0)
Read = Callable[[str], bytes]


@contextmanager
def open_package(path: Path) -> Iterator[Read]:
    """Yield a function that returns the content of a file directly in the package, by its name.

    Raises `ArtefactError`, here or from that function, when the package or the file is missing, when the `.zip` is
    damaged, and for content that is too large.
    """
    if path.is_dir():
        yield lambda name: _read_file(path, name)
        return
    if not path.is_file():
        raise ArtefactError(f"no model at {looked_for(path)}: there is neither a folder nor a .zip")
    with explaining_damage(f"{path} is no .zip that can be read"):
        archive = zipfile.ZipFile(path)
    with archive:
        yield _Archive(path, archive).read


def write_zip(target: Path, files: dict[str, bytes]) -> None:
    """Write a `.zip` of `files`, at once or not at all. The same files give the same bytes, at any time, anywhere."""
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, BEGINNING_OF_TIME)
            info.create_system, info.external_attr = 3, 0o644 << 16  # what unzip makes of it does not depend on us
            archive.writestr(info, content)


class _Archive:
    """A `.zip` and how much of it may still be read."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self.archive = path, archive
        self.top = self._top_folder()
        self.allowed = self.left = max(ALWAYS_ALLOWED, MAX_RATIO * path.stat().st_size)

    def read(self, name: str) -> bytes:
        """Return the content of a file, and count it."""
        try:
            info = self.archive.getinfo(self.top + name)
        except KeyError:
            raise _missing(self.path, name) from None
        if info.flag_bits & 1:
            raise ArtefactError(f"{self.path}: {name} is encrypted; unpack it by hand and give the folder")
        _check_size(self.path, name, info.file_size)
        if info.file_size > self.left:
            raise ArtefactError(
                f"{self.path}: its files would unpack to more than {self.allowed} bytes, {MAX_RATIO} times the "
                f"archive ({name} alone to {info.file_size}); no model does that, so it is not read"
            )
        self.left -= info.file_size
        with explaining_damage(f"{self.path} is damaged: {name} cannot be read"), self.archive.open(info) as file:
            blocks = iter(lambda: file.read(BLOCK), b"")  # what a single read unpacks is as large as the file lies
            return b"".join(blocks)

    def _top_folder(self) -> str:
        """Return the prefix of the model's files: none, or one folder."""
        names = self.archive.namelist()
        found = [
            name
            for name in names
            if name.split("/")[-1] == MANIFEST and name.count("/") <= 1 and not leads_elsewhere(name)
        ]
        if not found:
            raise ArtefactError(f"{self.path} holds no {MANIFEST}, neither at its top nor in a folder there")
        return min(found, key=len).removesuffix(MANIFEST)


def _read_file(folder: Path, name: str) -> bytes:
    try:
        state = (folder / name).stat()
        if not stat.S_ISREG(state.st_mode):
            raise ArtefactError(f"{folder}: {name} cannot be read: it is no file")
        _check_size(folder, name, state.st_size)
        return (folder / name).read_bytes()
    except FileNotFoundError:
        raise _missing(folder, name) from None
    except (OSError, MemoryError) as error:
        why = getattr(error, "strerror", None) or "it is larger than the memory"
        raise ArtefactError(f"{folder}: {name} cannot be read: {why}") from error


def _check_size(path: Path, name: str, size: int) -> None:
    if name == MANIFEST and size > MAX_MANIFEST:
        raise ArtefactError(f"{path}: {MANIFEST} has {size} bytes, at most {MAX_MANIFEST} are read")


def _missing(path: Path, name: str) -> ArtefactError:
    if name == MANIFEST and path.absolute().parent.name == "runs":
        model = path.absolute().parent.parent / "models" / path.name
        there = f"its model is {model}" if model.is_dir() else f"its model will be {model} once it has been selected"
        return ArtefactError(f"{path} is a folder of training runs and no model: {there}")
    return ArtefactError(f"the model at {path} is incomplete: {name} is missing")
