"""Headers written by hand, at the places that the NIfTI standard gives, are taken apart again."""

import gzip
import struct

import pytest

from segfw.core.errors import DataError
from segfw.io.formats.nifti_layout import NiftiLayout, is_packed, read_layout
from segfw.io.formats.readers import read_geometry


def header(version, order="<", ndim=3, offset=352):
    head = bytearray({1: 348, 2: 540}[version])
    struct.pack_into(order + "i", head, 0, len(head))
    if version == 1:
        struct.pack_into(order + "8h2h", head, 40, ndim, 5, 4, 3, 2, 1, 1, 1, 0, 0)
        struct.pack_into(order + "2h", head, 70, 16, 32)
        struct.pack_into(order + "8f", head, 76, 1, 0.5, 0.75, 2, *[0] * 4)
        struct.pack_into(order + "f", head, 108, offset)
    else:
        struct.pack_into(order + "2h", head, 12, 16, 32)
        struct.pack_into(order + "8q", head, 16, ndim, 5, 4, 3, 2, 1, 1, 1)
        struct.pack_into(order + "8d", head, 104, 1, 0.5, 0.75, 2, *[0] * 4)
        struct.pack_into(order + "q", head, 168, offset)
    return bytes(head)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
def test_every_kind_of_header(tmp_path, version, order, packed):
    content = header(version, order, 4)
    (tmp_path / "a").write_bytes(gzip.compress(content) if packed else content)
    layout = read_layout(tmp_path / "a")
    assert layout == NiftiLayout((5, 4, 3, 2), type_code=16, bits=32, offset=352, order=order, spacing=(0.5, 0.75, 2))
    assert (layout.count, layout.num_bytes) == (120, 352 + 120 * 4)
    assert is_packed(tmp_path / "a") == packed


@pytest.mark.parametrize(("ndim", "sizes"), [(-1, ()), (0, ()), (2, (5, 4)), (9, (5, 4, 3, 2, 1, 1, 1))])
def test_no_more_axes_than_there_are(tmp_path, ndim, sizes):
    (tmp_path / "a").write_bytes(header(1, ndim=ndim))
    assert read_layout(tmp_path / "a").sizes == sizes


@pytest.mark.parametrize(
    "content", [b"", b"abc", header(1)[:-1], header(2)[:-1], header(1, offset=float("nan")), b"\0" * 600]
)
def test_what_is_no_header_is_refused_by_the_reader(tmp_path, content):
    path = tmp_path / "a.nii"
    path.write_bytes(content)
    assert read_layout(path) is None
    with pytest.raises(DataError, match=r"a\.nii: this is no NIfTI header"):
        read_geometry(path)
