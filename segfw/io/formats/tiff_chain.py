"""Whether the pages of a TIFF file come to an end: each names the place of the next, which may be one before it."""

import struct
from pathlib import Path

from segfw.core.errors import DataError

FORMS = {  # version -> place of the first page; forms of the number of tags and of a place, bytes of a tag
    42: (4, "H", "I", 12),
    43: (8, "Q", "Q", 20),  # BigTIFF
}


def require_ending_chain(path: Path) -> None:
    """Raise `DataError` for pages that go round in a circle, in which a reader would go on for ever.

    Anything else that is wrong with the file, such as a place beyond its end, is left to the reader.
    """
    seen: set[int] = set()
    with path.open("rb") as file:
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 16:
            return
        version = struct.unpack_from(f"{order}H", head, 2)[0]
        if version not in FORMS:
            return
        start, count_form, place_form, tag_size = FORMS[version]
        count_form, place_form = order + count_form, order + place_form
        place = struct.unpack_from(place_form, head, start)[0]
        while place:
            if place in seen:
                raise DataError(f"cannot read {path}: its pages go round in a circle, {len(seen)} of them")
            seen.add(place)
            file.seek(place)
            count = file.read(struct.calcsize(count_form))
            if len(count) < struct.calcsize(count_form):
                return
            file.seek(struct.unpack(count_form, count)[0] * tag_size, 1)
            following = file.read(struct.calcsize(place_form))
            if len(following) < struct.calcsize(place_form):
                return
            place = struct.unpack(place_form, following)[0]
