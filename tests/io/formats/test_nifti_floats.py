"""NaN and infinity are found in the file, since ITK has replaced them in what it gives."""

import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk

from segfw.io.formats.nifti_floats import find_not_finite

SHAPE = (3, 4, 5)


def written(path, array):
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return path


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".hdr", ".img"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_count_and_place(tmp_path, ending, dtype):
    array = np.ones(SHAPE, dtype)
    array[2, 1, 0], array[1, 3, 4] = np.nan, -np.inf
    assert find_not_finite(written(tmp_path / f"a{ending}", array)) == (2, np.ravel_multi_index((1, 3, 4), SHAPE))
    assert np.isfinite(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"a{ending}")))).all()


def test_the_largest_numbers_are_finite(tmp_path):
    array = np.full(SHAPE, np.finfo(np.float32).max, np.float32)
    assert find_not_finite(written(tmp_path / "a.nii", array)) is None


def test_integers_have_none(tmp_path):
    assert find_not_finite(written(tmp_path / "a.nii.gz", np.full(SHAPE, 0x7F80, np.int16))) is None


def test_the_other_byte_order(tmp_path):
    head = bytearray(352)
    struct.pack_into(">i", head, 0, 348)
    struct.pack_into(">8h", head, 40, 3, 5, 4, 3, 1, 1, 1, 1)
    struct.pack_into(">2h", head, 70, 16, 32)
    struct.pack_into(">f", head, 108, 352.0)
    array = np.ones(SHAPE, ">f4")
    array.flat[7] = np.nan
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(head) + array.tobytes()))
    assert find_not_finite(tmp_path / "a.nii.gz") == (1, 7)


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", b"text", gzip.compress(b"x" * 400, mtime=0)[:-9]])
def test_what_is_no_nifti_is_left_to_the_reader(tmp_path, content):
    (tmp_path / "a.nii.gz").write_bytes(content)
    assert find_not_finite(tmp_path / "a.nii.gz") is None
