"""Where segmentations go, and what they must not replace."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from segfw.core.errors import UsageError
from segfw.core.settings.schema import InferenceSettings
from segfw.core.types import Geometry
from segfw.inference.predictor import Prediction
from segfw.stages.prediction.outputs import PredictionCase, files_beside, plan_outputs, write_case

PLAIN, UNSURE = InferenceSettings(), InferenceSettings(uncertainty=True)
IN, OUT = Path("in"), Path("out")


def images(*files):
    return {Path(file).name.split(".")[0]: (Path(file),) for file in files}


def test_segmentations_take_the_names_of_the_cases_and_the_endings_of_the_images(tmp_path):
    cases = plan_outputs(images("a.nrrd", "b.jpg", "c.nii.gz", "IM4"), tmp_path, OUT, PLAIN)
    assert [str(case.target) for case in cases] == ["out/a.nrrd", "out/b.png", "out/c.nii.gz", "out/IM4.nii.gz"]
    assert [case.files for case in cases] == [(case.target,) for case in cases]


def test_one_image_may_have_a_file_as_its_output(tmp_path):
    (case,) = plan_outputs(images("a.nii.gz"), tmp_path / "a.nii.gz", tmp_path / "seg.mha", UNSURE)
    assert case.target == tmp_path / "seg.mha"
    assert case.files == (tmp_path / "seg_uncertainty.nii.gz", tmp_path / "seg.mha")
    for source, kind in ((tmp_path, "a folder"), (tmp_path / "cases.csv", "a table")):
        with pytest.raises(UsageError, match=rf"seg\.mha is a file, but input=.* is {kind}; name a folder"):
            plan_outputs(images("a.nii.gz"), source, tmp_path / "seg.mha", PLAIN)


def test_images_are_never_replaced(tmp_path):
    some = images(f"{tmp_path}/a.nii.gz", f"{tmp_path}/a_uncertainty.nii.gz", f"{tmp_path}/b.nii.gz")
    with pytest.raises(UsageError, match=r"a\.nii\.gz is one of the images"):
        plan_outputs(some, tmp_path, tmp_path, PLAIN)
    del some["b"], some["a"]
    other = {**some, "a": (tmp_path / "deep" / "a.nii.gz",)}
    with pytest.raises(UsageError, match=r"a_uncertainty\.nii\.gz is one of the images"):
        plan_outputs(other, tmp_path / "cases.csv", tmp_path, UNSURE)
    with pytest.raises(UsageError, match="the images' own folder"):
        plan_outputs(images("x.jpg"), tmp_path, tmp_path, PLAIN)


def test_no_file_is_written_for_two_cases():
    with pytest.raises(UsageError, match=r"a_uncertainty\.nii\.gz would be written for .*\['a', 'a_uncertainty'\]"):
        plan_outputs(images("a.nii.gz", "a_uncertainty.nii.gz"), IN, OUT, UNSURE)
    assert len(plan_outputs(images("a.nii.gz", "a_uncertainty.nii.gz"), IN, OUT, PLAIN)) == 2


def test_a_case_is_there_with_all_its_files(tmp_path):
    target = tmp_path / "a.nii.gz"
    plain = PredictionCase("a", (), target)
    unsure = PredictionCase("a", (), target, files_beside(target, UNSURE))
    assert not plain.is_there
    target.write_bytes(b"")
    assert plain.is_there
    assert not unsure.is_there
    (tmp_path / "a_uncertainty.nii.gz").write_bytes(b"")
    assert unsure.is_there


def test_probabilities_lie_beside_the_segmentation():
    sure = InferenceSettings(probabilities=True)
    (case,) = plan_outputs(images("a.nii.gz"), IN, OUT, sure)
    assert case.files == (OUT / "a_probabilities.npy", OUT / "a.nii.gz")


def test_all_of_a_case_is_written(tmp_path):
    geometry = Geometry((2.0, 1.0, 1.0), (0.0, 0.0, 5.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    segmentation, doubt = np.eye(3, dtype=np.uint8)[None], np.full((1, 3, 3), 0.5, np.float32)
    case = PredictionCase("a", (), tmp_path / "a.mha", files_beside(tmp_path / "a.mha", UNSURE))
    write_case(case, Prediction(segmentation, uncertainty=doubt), geometry, None)  # a model only DICOM-SEG tells of
    assert case.is_there
    image = sitk.ReadImage(str(case.target))
    assert image.GetSpacing() == (1.0, 1.0, 2.0)
    assert np.array_equal(sitk.GetArrayFromImage(image), segmentation)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(case.files[0]))), doubt)
