"""The values that a PNG or BMP label map stores, where ITK gives colors.

ITK shows a palette's colors in place of its indices, and spreads 1, 2 and 4 bits over 0 to 255. That is right for an
image; a label map's values are the indices, and the bits as they are.
"""

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segfw.core.errors import DataError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, PALETTE = 0, 3


def stored_label_values(path: Path, array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the values (1, Z, Y, X) that a PNG file stores, from what ITK made of them, `array` (C, Z, Y, X).

    Anything but a palette and grey of less than 8 bits is given back as it is. `DataError` where two indices of a
    palette share a color that is used: which of them is meant cannot be told.
    """
    bits, kind, palette = _header(path)
    if kind == GREY and bits < 8:
        return array // np.array(255 // (2**bits - 1), array.dtype)
    if kind != PALETTE or len(palette) == 0:
        return array
    weights = np.array([1 << 16, 1 << 8, 1])
    colors = np.tensordot(weights, array[:3].astype(np.int64), 1)
    known = palette.astype(np.int64) @ weights
    unique, index, counts = np.unique(known, return_index=True, return_counts=True)
    place = np.searchsorted(unique, colors)
    doubled = np.unique(place)[counts[np.unique(place)] > 1]
    if len(doubled):
        indices = np.flatnonzero(known == unique[doubled[0]]).tolist()
        raise DataError(f"{path}: indices {indices[:5]} of its palette have one color; write the labels as grey values")
    return index[place][np.newaxis].astype(np.uint8)


def require_sound_chunks(path: Path) -> None:
    """Raise `DataError` if a chunk of a PNG file states more bytes than are left: room would be made for all of them.

    A file of another format is left to its reader.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(8) != SIGNATURE:
            return
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if file.tell() + length > size:
                raise DataError(
                    f"cannot read {path}: the file is truncated, its part {name.decode('latin-1')!r} states {length} "
                    f"bytes, {size - file.tell()} are left"
                )
            file.seek(length + 4, 1)


def _header(path: Path) -> tuple[int, int, NDArray[np.uint8]]:
    """Return (bits per sample, kind of color, palette of shape (entries, 3)); no PNG counts as 8 bits of grey."""
    empty = np.zeros((0, 3), np.uint8)
    with path.open("rb") as file:
        if file.read(8) != SIGNATURE:
            return 8, GREY, empty
        bits, kind = 8, GREY
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if name == b"IDAT":
                break
            content = file.read(length + 4)[:length]
            if name == b"IHDR":
                bits, kind = content[8], content[9]
            elif name == b"PLTE":
                return bits, kind, np.frombuffer(content, np.uint8).reshape(-1, 3)
    return bits, kind, empty
