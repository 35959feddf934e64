"""Disks that are full or cannot be written to: a small one of our own, and one that refuses each file once."""

import errno
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{8}-")


@contextmanager
def small_disk(place: Path, kilobytes: int) -> Iterator[Path]:
    """Mount a disk of so many kilobytes in memory; where that takes rights that the tests lack, skip the test."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("a small disk is mounted with mount, which is not here")
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Take all the room of a disk; return the file to remove for having it back."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return path


def make_read_only(disk: Path) -> None:
    """Mount a small disk anew so that nothing on it can be written."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


class RefusesOnce:
    """Says of each file that is written below `folder`, once, that there is no room. `refused`: their final paths."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.refused: list[Path] = []
        self._folder = folder
        sync, write_text = os.fsync, Path.write_text

        def fsync(descriptor: int) -> None:
            self._refuse(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
            sync(descriptor)

        def write(path: Path, *arguments: str, **keywords: str) -> int:
            if path.name.startswith(".tmp-"):
                write_text(path, "half of it")
                self._refuse(path)
            return write_text(path, *arguments, **keywords)

        patch.setattr(os, "fsync", fsync)
        patch.setattr(Path, "write_text", write)

    def _refuse(self, path: Path) -> None:
        final = path.with_name(TEMPORARY.sub("", path.name))
        if final.is_relative_to(self._folder) and final not in self.refused:
            self.refused.append(final)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
