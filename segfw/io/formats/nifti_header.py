"""Make an oblique NIfTI file give back the very direction it was written with.

NIfTI keeps the grid's axes as float32 vectors of the length of the spacing; ITK reads an axis as such a vector
divided by its own length. What ITK writes for a direction it has read is therefore often one float32 step beside the
vector it read, and the directions differ in the eighth digit: enough for programs that compare geometries to call the
two files different grids. Here the vector that was read is found again (few float32 vectors have exactly this
direction) and put into the header's sform.
"""

import gzip
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SFORM = struct.Struct("<12f")
SFORM_OFFSET = 280  # srow_x, srow_y, srow_z in the NIfTI-1 header
ITK_TO_NIFTI = np.array([-1.0, -1.0, 1.0])  # ITK's x and y axes point the other way
NEIGHBORS = 16


def restore_direction(path: Path, direction: tuple[float, ...]) -> None:
    """Rewrite the sform of the `.nii` or `.nii.gz` file that ITK wrote at `path` to give `direction`.

    `direction` is ITK's: row by row, the columns are the axes. A file that already gives it back, or a direction that
    no float32 vectors give (it came from another format), leaves the file as it is.
    """
    compressed = path.name.lower().endswith(".gz")
    content = bytearray(gzip.decompress(path.read_bytes()) if compressed else path.read_bytes())
    sform = np.array(SFORM.unpack_from(content, SFORM_OFFSET)).reshape(3, 4)
    ndim = round(len(direction) ** 0.5)
    wanted = np.array(direction).reshape(ndim, ndim) * ITK_TO_NIFTI[:ndim, np.newaxis]
    changed = False
    for axis in range(ndim):
        vector = sform[:ndim, axis]
        if _direction(vector) != tuple(wanted[:, axis]):
            found = _float32_vector(wanted[:, axis], float(np.linalg.norm(vector)))
            if found is None:
                return
            sform[:ndim, axis] = found
            changed = True
    if changed:
        SFORM.pack_into(content, SFORM_OFFSET, *sform.ravel())
        path.write_bytes(gzip.compress(content, compresslevel=6, mtime=0) if compressed else content)


def _float32_vector(direction: NDArray[np.float64], length: float) -> NDArray[np.float64] | None:
    """Return the float32 vector of about this length that has exactly this direction, if there is one."""
    largest = int(np.abs(direction).argmax())
    entry = np.float32(direction[largest] * length)
    for step in range(-NEIGHBORS, NEIGHBORS + 1):
        neighbor = float(entry) + step * float(np.spacing(entry))
        vector: NDArray[np.float64] = (
            (direction * (neighbor / direction[largest])).astype(np.float32).astype(np.float64)
        )
        if _direction(vector) == tuple(direction):
            return vector
    return None


def _direction(vector: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(v) for v in vector / np.linalg.norm(vector))
