"""Whether the elements of a DICOM file fit into it: GDCM makes room for what one states before it looks for it.

Only lengths are looked at. Sequences are walked into, so that every element, of whatever depth, comes in one row.
"""

import struct
from pathlib import Path

from segfw.core.errors import DataError

SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
UNDEFINED, ITEM_GROUP, PIXELS, SYNTAX = 0xFFFFFFFF, 0xFFFE, (0x7FE0, 0x0010), (0x0002, 0x0010)
BIG_ENDIAN, DEFLATED = b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99"


def require_sound_elements(path: Path) -> None:
    """Raise `DataError` if an element of the DICOM file states more bytes than are left of the file.

    What lies behind packed pixels, and a file of deflated elements, is left to the reader.
    """
    size, order, syntax = path.stat().st_size, "<", b""
    with path.open("rb") as file:
        file.seek(132 if file.read(132)[128:] == b"DICM" else 0)
        while len(head := file.read(8)) == 8:
            if head[0:2] != b"\2\0" and syntax == DEFLATED:
                return
            order = ">" if head[0:2] != b"\2\0" and syntax == BIG_ENDIAN else "<"
            tag = struct.unpack_from(f"{order}HH", head)
            length, enters = _length(head, order, file.read(4) if head[4:6] in LONG and tag[0] != ITEM_GROUP else b"")
            if tag == PIXELS and length == UNDEFINED:
                return
            if enters or length == UNDEFINED:
                continue
            if length > size - file.tell():
                raise DataError(
                    f"cannot read {path}: the file is truncated or damaged, its element {tag[0]:04x},{tag[1]:04x} "
                    f"states {length} bytes, {size - file.tell()} are left"
                )
            if tag == SYNTAX:
                syntax = file.read(length).rstrip(b"\0 ")
            else:
                file.seek(length, 1)


def _length(head: bytes, order: str, further: bytes) -> tuple[int, bool]:
    """Return an element's length, and whether what it holds are elements again; its type may be stated or not."""
    kind = head[4:6]
    if head[0:2] in (b"\xfe\xff", b"\xff\xfe"):
        return struct.unpack_from(f"{order}I", head, 4)[0], True
    if kind in LONG and len(further) == 4:
        return struct.unpack(f"{order}I", further)[0], kind == b"SQ"
    if kind in SHORT:
        return struct.unpack_from(f"{order}H", head, 6)[0], False
    return struct.unpack_from(f"{order}I", head, 4)[0], False
