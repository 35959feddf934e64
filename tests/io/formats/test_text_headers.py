"""Headers of text that ITK's readers die of are refused; long lines that they do not mind are not."""

import numpy as np
import pytest
import SimpleITK as sitk

from segfw.core.errors import DataError
from segfw.io.formats.readers import read_geometry, read_image

NRRD = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n{}\n\n"
META = "ObjectType = Image\nNDims = {}\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"


@pytest.mark.parametrize(
    "line", ["space: " + "a" * 5000, "labels: " + "a" * 1500, "a" * 1000, "data file: " + "a" * 1000]
)
def test_long_lines_of_nrrd_are_refused(tmp_path, line):
    path = tmp_path / "a.nrrd"
    path.write_bytes(NRRD.format(line).encode() + bytes(8))
    with pytest.raises(
        DataError, match=rf"cannot read .*a.nrrd: line 6 of its header has {len(line) + 1} characters, at m"
    ):
        read_geometry(path)


@pytest.mark.parametrize(
    "line", ["# " + "a" * 5000, "key:=" + "a" * 5000, "content: " + "a" * 5000, "labels: " + '"a" ' * 3]
)
def test_other_lines_of_nrrd_may_be_long(tmp_path, line):
    path = tmp_path / "a.nrrd"
    path.write_bytes(NRRD.format(line).encode() + bytes(range(8)))
    assert read_image([path]).array.ravel().tolist() == list(range(8))


@pytest.mark.parametrize("axes", ["-1", "0", "11", "4294967296", "99999999999999999999", "x", "", "3\nNDims = 100"])
def test_numbers_of_axes_that_metaimage_has_no_room_for_are_refused(tmp_path, axes):
    path = tmp_path / "a.mha"
    path.write_bytes(META.format(axes).encode() + bytes(8))
    with pytest.raises(
        DataError, match=r"a.mha: line [23] of its header: NDims must be a number of axes, 1 to 10, got"
    ):
        read_geometry(path)


def test_a_header_that_itk_writes_is_left_alone(tmp_path):
    image = sitk.GetImageFromArray(np.arange(8, dtype=np.uint8).reshape(2, 2, 2))
    for name in ("a.nrrd", "a.nhdr", "a.mha", "a.mhd"):
        sitk.WriteImage(image, str(tmp_path / name))
        assert read_image([tmp_path / name]).shape == (2, 2, 2)
