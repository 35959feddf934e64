"""Copies lie on the reference's grid exactly, beside the originals, whatever format these are of."""

import numpy as np
import pytest
import SimpleITK as sitk

from segfw.core.errors import DataError
from segfw.io.formats.readers import read_image, read_label
from segfw.io.formats.repair import copy_path, repair_file

OBLIQUE = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.1, -0.2, 0.3).GetMatrix()


def written(path, array, spacing=(0.7, 0.7, 2.5), origin=(-10.3, 4.1, 7.7), direction=OBLIQUE):
    path.parent.mkdir(exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def reference(tmp_path):
    array = np.random.default_rng(0).integers(0, 9, (4, 5, 6)).astype(np.int16)
    return written(tmp_path / "imagesTr" / "a_0000.nii.gz", array)


def label_map():
    array = np.zeros((4, 5, 6), np.uint8)
    array[1:3, 1:4, 2:5] = np.random.default_rng(1).integers(1, 4, (2, 3, 3))
    return array


@pytest.mark.parametrize("fix", ["copy_header", "resample"])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_label_map_moved_by_a_little_keeps_its_voxels(tmp_path, reference, fix, ending):
    array = label_map()
    path = written(tmp_path / "labelsTr" / f"a{ending}", array, origin=(-10.3, 4.2, 7.7))
    copy = repair_file(path, reference, fix, is_label=True)
    assert copy == tmp_path / f"labelsTr_{fix}" / f"a{ending}"
    assert (read_label(copy).array[0] == array).all()
    found, wanted = read_label(copy).geometry, read_image([reference]).geometry
    assert np.allclose(found.origin, wanted.origin, rtol=0, atol=1e-6)
    assert np.allclose(found.direction, wanted.direction, rtol=0, atol=1e-6)
    if ending.startswith(".nii"):
        assert found == wanted


def test_an_image_keeps_its_numbers(tmp_path, reference):
    for array in (np.arange(120, dtype=np.int16) - 60, np.linspace(-1, 1, 120, dtype=np.float32)):
        path = written(tmp_path / "imagesTr" / f"b_{array.dtype}.nrrd", array.reshape(4, 5, 6), spacing=(1, 1, 1))
        copy = repair_file(path, reference, "copy_header", is_label=False)
        assert (read_image([copy]).array[0] == array.reshape(4, 5, 6)).all()
        assert sitk.ReadImage(str(copy)).GetPixelIDTypeAsString().endswith("16-bit signed integer") == (
            array.dtype == np.int16
        )


def test_formats_that_lose_the_direction_give_nifti(tmp_path):
    assert copy_path(tmp_path / "labelsTr" / "a.gipl", "resample") == tmp_path / "labelsTr_resample" / "a.nii.gz"
    (tmp_path / "imagesTr" / "series").mkdir(parents=True)
    found = copy_path(tmp_path / "imagesTr" / "series", "copy_header")
    assert found == tmp_path / "imagesTr_copy_header" / "series.nii.gz"


def test_a_label_map_that_would_be_empty_is_refused(tmp_path, reference):
    array = np.zeros((4, 5, 6), np.uint8)
    array[0, 0, 0] = 1
    path = written(tmp_path / "labelsTr" / "a.nii.gz", array, origin=(-13.3, 4.1, 7.7))
    with pytest.raises(DataError, match="no labelled voxel lies inside the image"):
        repair_file(path, reference, "resample", is_label=True)
    assert not (tmp_path / "labelsTr_resample").exists()
