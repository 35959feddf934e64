"""NaN and infinite voxels of NIfTI files, which ITK replaces by zeros (in float64 by small numbers) and says nothing.

So an image that was read cannot tell any more; the file's own bytes are looked at.
"""

import gzip
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from segfw.io.formats.endings import NIFTI_ENDINGS
from segfw.io.formats.nifti_layout import NiftiLayout, files_of, is_packed, read_layout

FLOAT32, FLOAT64 = 16, 64  # codes of NIfTI's data types
EXPONENTS = {FLOAT32: (4, 0x7F800000), FLOAT64: (8, 0x7FF0000000000000)}
BLOCK = 2**22


def find_not_finite(path: Path) -> tuple[int, int] | None:
    """Return (number of NaN or infinite voxels, index of the first one, counted as the file does, x fastest).

    None where there is none, and for files that are no NIfTI, that hold integers, or that cannot be read.
    """
    if not path.name.lower().endswith(NIFTI_ENDINGS):
        return None
    header, voxels = files_of(path)
    try:
        layout = read_layout(header)
        if layout is None or layout.type_code not in EXPONENTS:
            return None
        with gzip.open(voxels) if is_packed(voxels) else voxels.open("rb") as file:
            return _scan(file, layout)  # type: ignore[arg-type]
    except (OSError, EOFError, zlib.error):
        return None


def _scan(file: BinaryIO, layout: NiftiLayout) -> tuple[int, int] | None:
    """Look at the exponents alone: all ones is NaN or infinite."""
    size, exponent = EXPONENTS[layout.type_code]
    file.seek(layout.offset)
    total, first, done = 0, -1, 0
    while done < layout.count:
        block = file.read(min(BLOCK, (layout.count - done) * size))
        bits = np.frombuffer(block, f"{layout.order}u{size}", len(block) // size)
        if not len(bits):
            break
        bad = (bits & exponent) == exponent
        if bad.any():
            first = done + int(bad.argmax()) if first < 0 else first
            total += int(bad.sum())
        done += len(bits)
    return (total, first) if total else None
