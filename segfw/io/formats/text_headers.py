"""Refuse headers of NRRD and MetaImage files that end the process in ITK's readers, or keep it waiting for ever.

A line of NRRD that is wrong is put into a message of bounded length, MetaImage's axes into arrays of ten; both without
a look at how much there is.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from segfw.core.errors import DataError

NRRD_ENDINGS, META_ENDINGS = (".nrrd", ".nhdr"), (".mha", ".mhd")
LONGEST_LINE = 512  # of NRRD's fields; ITK dies of one of 1000
FREE_LINE = re.compile(rb"#|content:|[^:]*:=")  # comments and keys of one's own, which are never wrong
VOXELS_FILE = re.compile(rb"(?:data ?file *:|ElementDataFile *=)([^\n\r\0]*)")
MOST_AXES = 10
AXES = re.compile(rb"\s*NDims\s*[=:]?(?P<number>.*)")


def require_sound_text(path: Path, ending: str) -> None:
    """Raise `DataError` for the header of an NRRD or MetaImage file, by its ending in lower case, that is dangerous.

    So is one that names a pipe or a device for the voxels.
    """
    if ending not in (*NRRD_ENDINGS, *META_ENDINGS):
        return
    for number, line in enumerate(_header_lines(path, ending), 1):
        where = f"cannot read {path}: line {number} of its header"
        if ending in NRRD_ENDINGS and len(line) > LONGEST_LINE and not FREE_LINE.match(line):
            raise DataError(f"{where} has {len(line)} characters, at most {LONGEST_LINE} are read: {line[:40]!r}...")
        axes = AXES.match(line) if ending in META_ENDINGS else None
        if axes and not (axes["number"].strip().isdigit() and 1 <= int(axes["number"]) <= MOST_AXES):
            raise DataError(f"{where}: NDims must be a number of axes, 1 to {MOST_AXES}, got {line[:40]!r}")
        if named := VOXELS_FILE.match(line):
            _require_regular(path.parent / os.fsdecode(named[1].strip()), where)


def _require_regular(file: Path, where: str) -> None:
    """Raise `DataError` for a pipe, a device, and a name that no file can have; what is not there is left to ITK."""
    try:
        wrong = not file.is_file() and file.exists() and not file.is_dir()
    except OSError as error:
        raise DataError(f"{where} names {str(file)[:200]!r} for its voxels: {error.strerror}") from error
    if wrong:
        raise DataError(f"{where} names {file} for its voxels, which is no regular file")


def _header_lines(path: Path, ending: str) -> Iterator[bytes]:
    """Yield the lines up to the voxels: to an empty one (NRRD), or to the one that says where they are (MetaImage)."""
    with path.open("rb") as file:
        for line in file:
            if ending in NRRD_ENDINGS and not line.strip():
                return
            yield line
            if ending in META_ENDINGS and line.startswith(b"ElementDataFile"):
                return
