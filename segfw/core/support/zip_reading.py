"""What reading a `.zip` that comes from anywhere may end in, and how that is told; one answer for all that read one."""

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from tokenize import TokenError

from segfw.core.errors import ArtefactError, WriteError

ZIP_DAMAGE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError, OverflowError,
    NotImplementedError, RuntimeError, MemoryError,
)  # fmt: skip
"""Of the directory or of a member, in any of the compressions that Python reads; also of one that it does not."""

ARRAY_DAMAGE = (*ZIP_DAMAGE, KeyError, TokenError)
"""Of numpy's files, alone or in an archive; the last is of a header that its parser cannot tell apart."""


@contextmanager
def explaining_damage(start: str) -> Iterator[None]:
    """Turn what a damaged archive ends in into an `ArtefactError` that begins with `start`.

    Only calls of the archive belong in the block: a `RuntimeError` of anything else would be told as damage. A
    `WriteError`, of where it is copied to, passes.
    """
    try:
        yield
    except WriteError:
        raise
    except ZIP_DAMAGE as error:
        raise ArtefactError(f"{start}: {error or type(error).__name__}") from error


def leads_elsewhere(name: str) -> bool:
    """Whether the name of a member points out of the folder that the archive would be unpacked to."""
    return name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/")
