"""Folders of images: which files count, and what they are called."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from segfw.core.errors import DataError
from segfw.io.datasets.listing import image_files, is_image, split_ending
from segfw.io.formats.readers import read_geometry, read_image


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.nii.gz", True),
        ("A.NII.GZ", True),
        ("a.b.png", True),
        (".a.nii.gz", False),
        ("._a.nii.gz", False),
        ("a.txt", False),
        ("a.gz", False),
        ("nii.gz", False),
        (".nii.gz", False),
        ("a", False),
    ],
)
def test_images_are_told_by_their_names(name, expected):
    assert is_image(Path(name)) == expected


def test_a_name_is_what_stands_before_the_ending():
    assert split_ending(Path("/d/case.1_0000.NII.gz")) == ("case.1_0000", ".NII.gz")
    with pytest.raises(DataError, match=r"notes\.txt is of no known image format; known endings: \.nii\.gz, "):
        split_ending(Path("notes.txt"))


def test_a_folder_lists_its_images_by_name(tmp_path):
    for name in ("b.nii.gz", "a.png", ".hidden.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png" / "c.png").touch()
    assert image_files(tmp_path) == {"a": tmp_path / "a.png", "b": tmp_path / "b.nii.gz"}
    assert list(image_files(tmp_path)) == ["a", "b"]


def test_two_images_of_one_name_are_refused(tmp_path):
    for name in ("a.nii.gz", "a.mha"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"holds a twice: a\.mha and a\.nii\.gz"):
        image_files(tmp_path)


@pytest.mark.parametrize("shape", [(2, 3, 4), (3, 4), (5, 2, 3, 4)])
def test_the_header_says_where_the_voxels_lie(tmp_path, shape):
    path = tmp_path / "a.nii.gz"
    image = sitk.GetImageFromArray(np.zeros(shape, np.float32), isVector=False)
    image.SetSpacing([0.5 + axis for axis in range(len(shape))])
    sitk.WriteImage(image, str(path))
    assert read_geometry(path) == read_image([path]).geometry


def test_a_header_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"a\.nii\.gz"):
        read_geometry(tmp_path / "a.nii.gz")
