"""Elements that are longer than their file are refused before GDCM makes room for them."""

import struct

import numpy as np
import pytest

from segfw.core.errors import DataError
from segfw.io.formats.dicom_elements import require_sound_elements
from tests.io.formats.dicom_files import CT, EXPLICIT_LITTLE_ENDIAN, element, file_bytes, write_slice

ITEM, END = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF), struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
SEQUENCE = struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF)
LONG = struct.pack("<HH2sHI", 8, 0x1150, b"UT", 0, 1_800_000_000) + b"1.2"
IMPLICIT = struct.pack("<HHI", 0x10, 0x10, 4) + b"Name"


def test_a_file_ends_with_its_last_element(tmp_path):
    write_slice(tmp_path / "a", np.zeros((4, 5), np.int16))  # 4 x 5 pixels of 2 bytes come last
    require_sound_elements(tmp_path / "a")
    (tmp_path / "cut").write_bytes((tmp_path / "a").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"/cut: .* 7fe0,0010 states 40 bytes, 39 are left"):
        require_sound_elements(tmp_path / "cut")


@pytest.mark.parametrize(
    "elements",
    [
        [LONG],
        [element("00080060", "CS", "CT"), LONG],
        [SEQUENCE, ITEM, LONG, END],
        [IMPLICIT, struct.pack("<HHI", 0x10, 0x20, 1_800_000_000)],
    ],
    ids=["at once", "after another", "in a sequence", "of no stated type"],
)
def test_a_length_beyond_the_end_is_refused(tmp_path, elements):
    (tmp_path / "a").write_bytes(file_bytes(CT, elements))
    with pytest.raises(
        DataError, match=r"cannot read .*/a: .* its element 00\d\d,\w{4} states 1800000000 bytes, \d+ are"
    ):
        require_sound_elements(tmp_path / "a")


def test_without_the_magic_number_it_is_looked_at_from_the_beginning(tmp_path):
    (tmp_path / "a").write_bytes(element("00080060", "CS", "CT") + LONG)
    with pytest.raises(DataError, match="0008,1150 states 1800000000 bytes, 3 are left"):
        require_sound_elements(tmp_path / "a")


@pytest.mark.parametrize(("syntax", "refused"), [("1.2.840.10008.1.2.2", True), ("1.2.840.10008.1.2.1.99", False)])
def test_the_order_of_bytes_is_that_of_the_syntax_and_deflated_ones_are_left_alone(tmp_path, syntax, refused):
    text, own = EXPLICIT_LITTLE_ENDIAN.encode() + b"\0", syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = file_bytes(CT, []).replace(struct.pack("<H", len(text)) + text, struct.pack("<H", len(own)) + own)
    sound = struct.pack(">HH2sH", 8, 0x60, b"CS", 2) + b"CT"
    (tmp_path / "a").write_bytes(meta + sound + struct.pack(">HH2sHI", 8, 0x1150, b"UT", 0, 1_800_000_000))
    if refused:
        with pytest.raises(DataError, match="0008,1150 states 1800000000 bytes, 0 are left"):
            require_sound_elements(tmp_path / "a")
    else:
        require_sound_elements(tmp_path / "a")


def test_packed_pixels_end_the_walk(tmp_path):
    packed = struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + b"\xff" * 50
    (tmp_path / "a").write_bytes(file_bytes(CT, [packed, LONG]))
    require_sound_elements(tmp_path / "a")
    (tmp_path / "b").write_bytes(file_bytes(CT, [LONG, packed]))
    with pytest.raises(DataError, match=r"/b: .* 0008,1150 states 1800000000 bytes"):
        require_sound_elements(tmp_path / "b")
