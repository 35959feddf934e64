"""Refuse the size that a header states where the file cannot hold it, or the machine cannot, before room is made.

A reader allocates what the header says. A damaged or hostile one says terabytes in a file of some bytes, and the
system ends the process once it has filled the memory, or the reader fills it with zeros for minutes.
"""

from pathlib import Path

from segfw.core.errors import DataError
from segfw.core.support.host_memory import available_memory

DEFLATE_LIMIT = 1032  # no stream of deflate unpacks to more than this many times its size
MOST_PACKED = 32 * DEFLATE_LIMIT  # PNG: deflated bits, each of which a palette turns into four bytes
UNASKED = 2**28
"""Bytes that are always let through: a blank DICOM slice is packed more densely than any limit would allow."""


def require_packable(path: Path, stated: int, packed: int, limit: int = MOST_PACKED) -> None:
    """Raise `DataError` if the header at `path` states more bytes of voxels than so many `packed` ones can hold.

    `limit`: the most that the compression may make of a byte; what it makes of few bytes is let through.
    """
    if stated > packed * limit and (limit < MOST_PACKED or stated > UNASKED):
        raise DataError(
            f"cannot read {path}: its header states {stated} bytes, more than {packed} packed bytes can hold"
        )


def require_memory(path: Path, stated: int, copy: int) -> None:
    """Raise `DataError` if the memory that is free does not suffice for voxels of the `stated` size and their copy."""
    needed = stated + copy
    if needed > UNASKED and needed > (available := available_memory()):
        raise DataError(
            f"cannot read {path}: there is not enough memory for an image of its size: it takes {needed / 1e9:.3g} GB, "
            f"{available / 1e9:.3g} GB are free"
        )
