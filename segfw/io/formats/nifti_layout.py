"""What the header of a NIfTI file, version 1 or 2 and of either byte order, states of where its voxels lie.

ITK reads the voxels; here is what must be known of a file to judge whether it is whole and what ITK would hide.
"""

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

LONGEST_HEADER = 540
GZIP = b"\x1f\x8b"
HEADERS = {  # size -> places and forms of dim, datatype, bitpix, vox_offset and pixdim
    348: ((40, "8h"), (70, "h"), (72, "h"), (108, "f"), (76, "8f")),
    LONGEST_HEADER: ((16, "8q"), (12, "h"), (14, "h"), (168, "q"), (104, "8d")),
}


@dataclass(frozen=True)
class NiftiLayout:
    """Where the voxels lie: sizes of the axes, x first; code and bits of their type; first byte; byte order, < or >.

    `spacing`: of the axes in space, as it is stated.
    """

    sizes: tuple[int, ...]
    type_code: int
    bits: int
    offset: int
    order: str
    spacing: tuple[float, ...]

    @property
    def count(self) -> int:
        """Number of voxels, those of further axes (times, components) included."""
        return math.prod(self.sizes)

    @property
    def num_bytes(self) -> int:
        """How many bytes the file has at least, unpacked."""
        return self.offset + self.count * self.bits // 8


def files_of(path: Path) -> tuple[Path, Path]:
    """Return (file of the header, file of the voxels): `.hdr` and `.img` for either of them, else `path` twice."""
    is_pair = path.suffix.lower() in (".hdr", ".img")
    return (path.with_suffix(".hdr"), path.with_suffix(".img")) if is_pair else (path, path)


def is_packed(path: Path, start: int = 0) -> bool:
    """Whether what stands in the file from byte `start` on is gzip's, whatever it is called."""
    with path.open("rb") as file:
        file.seek(start)
        return file.read(len(GZIP)) == GZIP


def read_layout(header: Path) -> NiftiLayout | None:
    """Read a header, unpacking it; None for what is none. Raises `zlib.error` for what cannot be unpacked."""
    with header.open("rb") as file:
        head = file.read(2 * LONGEST_HEADER)
    if head.startswith(GZIP):
        head = zlib.decompressobj(wbits=31).decompress(head, LONGEST_HEADER)
    for order in "<>":
        size = struct.unpack_from(order + "i", head)[0] if len(head) >= 4 else 0
        if size not in HEADERS or len(head) < size:
            continue
        fields = (struct.unpack_from(order + form, head, at) for at, form in HEADERS[size])
        dim, (kind,), (bits,), (offset,), pixdim = fields
        if not 0 <= offset < 2**63:
            return None
        axes = max(0, min(dim[0], 7))
        return NiftiLayout(dim[1 : 1 + axes], kind, bits, int(offset), order, pixdim[1 : 1 + min(axes, 3)])
    return None
