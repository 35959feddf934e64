"""What the files of one case tell of themselves, by their formats."""

import json

import numpy as np
import pytest
import tifffile

from segfw.core.cases.dataset import Case, Dataset
from segfw.core.labels import LabelSet
from segfw.stages.dataset.case_check import check_case
from tests.stages.tiny_dataset import write

ARRAY = np.ones((2, 3, 4), np.uint8)
DATASET = Dataset("Tiny", ("CT",), LabelSet({"background": 0, "liver": 1}), 1, ())


def faults_of(image, label):
    return [
        (fault.kind, fault.message) for fault in check_case(Case("a", (str(image),), str(label)), DATASET, 1e-3).faults
    ]


def write_tiff(path, spacing=None):
    tifffile.imwrite(path, ARRAY, photometric="minisblack")
    if spacing:
        path.with_suffix(".json").write_text(json.dumps({"spacing": spacing}))
    return path


@pytest.mark.parametrize(("spacing", "kinds"), [(None, []), ((1.0, 1.0, 1.0), []), ((2.0, 1.0, 1.0), ["spacing"])])
def test_a_spacing_of_one_is_a_spacing(tmp_path, spacing, kinds):
    write(tmp_path / "a.nii.gz", ARRAY, (1.0, 1.0, 1.0))
    assert [kind for kind, _ in faults_of(tmp_path / "a.nii.gz", write_tiff(tmp_path / "b.tif", spacing))] == kinds


def test_a_tiff_that_states_no_spacing_contradicts_none(tmp_path):
    write(tmp_path / "a.nii.gz", ARRAY, (0.5, 0.5, 2.0))
    assert faults_of(tmp_path / "a.nii.gz", write_tiff(tmp_path / "b.tif")) == []
    assert faults_of(write_tiff(tmp_path / "c.tif", (1.0, 1.0, 1.0)), write_tiff(tmp_path / "b.tif")) == []
    ((kind, _),) = faults_of(
        write_tiff(tmp_path / "d.tif", (1.0, 1.0, 1.0)), write_tiff(tmp_path / "e.tif", (1.0, 1.0, 2.0))
    )
    assert kind == "spacing"
