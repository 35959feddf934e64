"""An alpha channel counts as left out only where the file has one component more than was read."""

import numpy as np
import pytest
import SimpleITK as sitk

from segfw.io.formats.alpha import lost_alpha


@pytest.mark.parametrize(("components", "read", "lost"), [(4, 3, True), (4, 4, False), (3, 3, False), (1, 1, False)])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_colors(tmp_path, components, read, lost, name):
    array = np.full((5, 6, components), 200, np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=True), str(tmp_path / name))
    assert lost_alpha(str(tmp_path / name), read) is lost


@pytest.mark.parametrize("name", ["a.nii.gz", "a.unknown", "missing.png", "missing.tif"])
def test_other_files_have_none(tmp_path, name):
    assert lost_alpha(str(tmp_path / name), 3) is False
