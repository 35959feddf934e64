"""What a fold's networks say of its validation cases, kept so that configurations can be averaged without them.

    logits/<case>.npz  high.npy  uint8 (heads, d0, d1, d2): the upper byte of each float16, deflated
                       low.npy   the lower byte, as it is
                       made_from.npy  the hash of what they were made from

Float16 on the network's grid, bit for bit, so that an average of probabilities is that of a prediction. The lower byte
is noise that no coder shortens. Hippocampus, six cases of 2.3 MB together and one, enlarged, of 26.5 MB; share of raw
float16, and seconds of processor time per GB to write and to read (one thread of a shared two-core machine, November
2026):

    raw npy                                              100 %     0.2-0.5   0
    npz as numpy writes it (deflate 6)                   81-85 %   38        5-7
    bytes apart, both deflated (1)                       68-71 %   18        6
    this: bytes apart, the upper one deflated (1)        68-70 %   8-12      3-5
    second differences in plane, bytes apart, deflate 1  61-64 %   15-26     7-13
    first differences, bytes apart, lzma 0               62-67 %   71-88     not measured
"""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segfw.core.errors import ArtefactError, UsageError
from segfw.core.support.files import atomic_path
from segfw.core.support.zip_reading import ARRAY_DAMAGE

FOLDER = "logits"
ENDING = ".npz"
HIGH, LOW, MADE_FROM = "high.npy", "low.npy", "made_from.npy"
FAST = 1
MOST_OF_A_HASH = 4096
"""Most bytes that are read of the entry with the hash; a longer entry is damaged."""


def logits_path(validation: Path, case: str) -> Path:
    """Return where a case's logits lie in a fold's folder of whole-case validation."""
    return validation / FOLDER / f"{case}{ENDING}"


def save_logits(path: Path, logits: NDArray[np.float16], made_from: str) -> None:
    """Write float16 logits `(heads, d0, d1, d2)` at once or not at all; `made_from`: hash by which they are known."""
    values = np.ascontiguousarray(logits)
    if values.dtype != np.float16:
        raise UsageError(f"{path}: logits are kept as float16, got {values.dtype}")
    low_and_high = values.astype("<f2", copy=False).view(np.uint8).reshape(*values.shape, 2)
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        _write(archive, MADE_FROM, np.array([made_from]), zipfile.ZIP_STORED)
        _write(archive, HIGH, low_and_high[..., 1], zipfile.ZIP_DEFLATED)
        _write(archive, LOW, low_and_high[..., 0], zipfile.ZIP_STORED)


def load_logits(path: Path) -> NDArray[np.float16]:
    """Return the logits `(heads, d0, d1, d2)`; `ArtefactError` for a file that is missing or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            most = path.stat().st_size  # the lower bytes lie there as they are, and there are as many of the upper
            high = _read(archive, HIGH, most)
            if high.dtype != np.uint8:
                raise ValueError(f"{HIGH} must hold uint8, got {high.dtype}")
            both = np.empty((*high.shape, 2), np.uint8)
            both[..., 1] = high
            both[..., 0] = _read(archive, LOW, most)
    except ARRAY_DAMAGE as error:
        raise ArtefactError(
            f"cannot read the logits {path}: {error}; delete the file, and they are made again"
        ) from error
    return both.view("<f2")[..., 0].astype(np.float16, copy=False)


def has_logits(path: Path, made_from: str) -> bool:
    """Whether the file is there and was made from that."""
    try:
        with zipfile.ZipFile(path) as archive:
            stated: object = _read(archive, MADE_FROM, MOST_OF_A_HASH).tolist()
    except ARRAY_DAMAGE:
        return False
    return stated == [made_from]


def _write(archive: zipfile.ZipFile, name: str, array: NDArray[np.generic], method: int) -> None:
    text = io.BytesIO()
    np.lib.format.write_array(text, np.ascontiguousarray(array), allow_pickle=False)
    # An entry of its own has no time of day: the same logits give the same bytes.
    archive.writestr(zipfile.ZipInfo(name), text.getbuffer(), method, FAST)


def _read(archive: zipfile.ZipFile, name: str, most: int) -> NDArray[Any]:
    size = archive.getinfo(name).file_size
    if size > most:
        raise ValueError(f"{name} would unpack to {size} bytes, more than the {most} that are possible")
    with archive.open(name) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array
