"""A checksum of a checkpoint, within it: the comment with which a zip file may end, so that both are one file.

PyTorch compares no checksums, and where a flipped bit has changed a size in the file, it reads and writes memory that
is none of the checkpoint's. So nothing of a file whose seal is broken is given to it.
"""

import hashlib
from pathlib import Path

MARK = b"segfw sha256 "
DIGITS = 64
COMMENT = len(MARK) + DIGITS
LENGTH = COMMENT.to_bytes(2, "little")
"""What a zip file states before its comment."""
BLOCK = 2**22


def seal(path: Path) -> None:
    """Add to the zip file at `path`, which ends in no comment yet, the SHA-256 of what is there."""
    digest = _digest(path, 2)
    with path.open("r+b") as file:
        file.seek(-2, 2)
        if file.read() != bytes(2):
            raise ValueError(f"{path} does not end as a zip file without a comment does")
        file.seek(-2, 2)
        file.write(LENGTH + MARK + digest)


def is_sealed(path: Path) -> bool:
    """Whether the file ends in a seal, whatever it says; earlier versions wrote none."""
    return MARK in _end(path)


def is_whole(path: Path) -> bool:
    """Whether the file ends in a seal that is of its content."""
    end = _end(path)
    return end[:2] == LENGTH and end[2:-DIGITS] == MARK and end[-DIGITS:] == _digest(path, len(end))


def _end(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - COMMENT - 2))
        return file.read()


def _digest(path: Path, but_the_last: int) -> bytes:
    """Return the hexadecimal SHA-256 of a file but for so many bytes at its end."""
    left, found = path.stat().st_size - but_the_last, hashlib.sha256()
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(BLOCK, left))):
            found.update(block)
            left -= len(block)
    return found.hexdigest().encode()
