"""Pages that go round in a circle are refused, of either kind of TIFF and either order of bytes."""

import struct

import numpy as np
import pytest
import tifffile

from segfw.core.errors import DataError
from segfw.io.formats.readers import read_geometry
from segfw.io.formats.tiff_chain import require_ending_chain


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_a_circle_is_refused(tmp_path, order, bigtiff):
    path = tmp_path / "a.tif"
    pages = np.zeros((3, 6, 7), np.uint8)
    tifffile.imwrite(path, pages, photometric="minisblack", byteorder=order, bigtiff=bigtiff)
    require_ending_chain(path)
    with tifffile.TiffFile(path) as tiff:
        first, last = tiff.pages[0].offset, tiff.pages[2].offset
    content = bytearray(path.read_bytes())
    count_form, place_form, tag = ("Q", "Q", 20) if bigtiff else ("H", "I", 12)
    count = struct.unpack_from(order + count_form, content, last)[0]
    struct.pack_into(order + place_form, content, last + struct.calcsize(order + count_form) + count * tag, first)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read .*a.tif: its pages go round in a circle, 3 of them"):
        read_geometry(path)


@pytest.mark.parametrize(
    "content", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff" + bytes(8), b"MM\0\x63" + bytes(12), bytes(99)]
)
def test_what_else_is_wrong_is_left_to_the_reader(tmp_path, content):
    (tmp_path / "a.tif").write_bytes(content)
    require_ending_chain(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif") as refused:
        read_geometry(tmp_path / "a.tif")
    assert "circle" not in str(refused.value)
