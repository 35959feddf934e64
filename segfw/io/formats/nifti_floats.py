"""NaN and infinite voxels of NIfTI files, which ITK replaces by zeros (in float64 by small numbers) and says nothing.

So an image that was read cannot tell any more; the file's own bytes are looked at.
"""

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

FLOAT32, FLOAT64 = 16, 64  # codes of NIfTI's data types
EXPONENTS = {FLOAT32: (4, 0x7F800000), FLOAT64: (8, 0x7FF0000000000000)}
BLOCK = 2**22
HEADERS = {348: (40, "8h", 70, 108, "f"), 540: (16, "8q", 12, 168, "q")}  # size -> places of dim, type and offset


@dataclass(frozen=True)
class NiftiFloats:
    """Where a NIfTI file holds its floating-point voxels: bytes per voxel, byte order, first byte, number of voxels."""

    size: int
    order: str
    offset: int
    count: int


def find_not_finite(path: Path) -> tuple[int, int] | None:
    """Return (number of NaN or infinite voxels, index of the first one, counted as the file does, x fastest).

    None where there is none, and for files that are no NIfTI, that hold integers, or that cannot be read.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            layout = _layout(file.read(540))
            return None if layout is None else _scan(file, layout)  # type: ignore[arg-type]
    except (OSError, EOFError, zlib.error, struct.error):
        return None


def _layout(head: bytes) -> NiftiFloats | None:
    for order in "<>":
        places = HEADERS.get(struct.unpack_from(f"{order}i", head)[0])
        if places is None:
            continue
        dim_place, dim_form, type_place, offset_place, offset_form = places
        dims = struct.unpack_from(order + dim_form, head, dim_place)
        kind = struct.unpack_from(f"{order}h", head, type_place)[0]
        if kind not in EXPONENTS:
            return None
        offset = int(struct.unpack_from(order + offset_form, head, offset_place)[0])
        return NiftiFloats(EXPONENTS[kind][0], order, offset, int(np.prod(dims[1 : 1 + dims[0]], dtype=np.int64)))
    return None


def _scan(file: BinaryIO, layout: NiftiFloats) -> tuple[int, int] | None:
    """Look at the exponents alone: all ones is NaN or infinite."""
    exponent = EXPONENTS[FLOAT32 if layout.size == 4 else FLOAT64][1]
    file.seek(layout.offset)
    total, first, done = 0, -1, 0
    while done < layout.count:
        block = file.read(min(BLOCK, (layout.count - done) * layout.size))
        bits = np.frombuffer(block, f"{layout.order}u{layout.size}", len(block) // layout.size)
        if not len(bits):
            break
        bad = (bits & exponent) == exponent
        if bad.any():
            first = done + int(bad.argmax()) if first < 0 else first
            total += int(bad.sum())
        done += len(bits)
    return (total, first) if total else None
