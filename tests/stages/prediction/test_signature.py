"""Segmentations say how they were made, and those of another model are not taken for this one's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from segfw.core.errors import UsageError
from segfw.core.settings.schema import InferenceSettings
from segfw.core.settings.verbs import InferenceOverrides, PredictSettings
from segfw.core.types import Geometry
from segfw.inference.bundle import load_bundle, save_bundle, save_zip
from segfw.io.formats.readers import read_notes
from segfw.io.formats.writing import write_label
from segfw.stages.prediction import predict
from segfw.stages.prediction.outputs import PredictionCase
from segfw.stages.prediction.signature import refuse_others, signature_of
from tests.stages.tiny_cases import save_images, save_tiny_model

PLAIN = InferenceSettings()
GRID = Geometry((2.0, 1.0, 1.0), (0.0, 0.0, 5.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
ONE, OTHER, NEITHER = (f"segfw {digit * 16}" for digit in "a1f")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model", slice(0, 2))


def written(path: Path, notes: str) -> PredictionCase:
    write_label(path, np.eye(4, dtype=np.uint8)[None].repeat(3, axis=0), GRID, notes)
    return PredictionCase(path.name, (), path, signature=ONE)


@pytest.mark.parametrize("ending", ["nii.gz", "nii", "nrrd", "mha", "hdr"])
def test_notes_come_back_from_the_header_and_change_nothing_else(tmp_path, ending):
    case = written(tmp_path / f"a.{ending}", ONE)
    assert read_notes(case.target) == ONE
    plain = written(tmp_path / f"b.{ending}", "")
    assert read_notes(plain.target) == ""
    one, two = (sitk.ReadImage(str(each.target)) for each in (case, plain))
    assert np.array_equal(sitk.GetArrayFromImage(one), sitk.GetArrayFromImage(two))
    assert (one.GetSpacing(), one.GetOrigin(), one.GetDirection()) == (
        two.GetSpacing(),
        two.GetOrigin(),
        two.GetDirection(),
    )


@pytest.mark.parametrize("name", ["a.tif", "a.vtk", "absent.nii.gz"])
def test_where_there_is_no_room_there_are_no_notes(tmp_path, name):
    if name.startswith("a."):
        written(tmp_path / name, ONE)
    assert read_notes(tmp_path / name) == ""


def test_a_file_that_is_no_image_has_no_notes(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"no image")
    assert read_notes(tmp_path / "a.nii.gz") == ""


def test_a_model_signs_alike_wherever_it_lies(model, tmp_path):
    save_zip(tmp_path / "model.zip", model)
    here = signature_of(load_bundle(model), PLAIN)
    assert here == signature_of(load_bundle(tmp_path / "model.zip"), PLAIN)
    assert here.startswith("segfw ")
    assert len(here) < 80


@pytest.mark.parametrize(
    "changes",
    [{"step_size": 0.7}, {"mirror": False}, {"postprocessing": False}, {"seed": 1}, {"samples": 3}, {"depth": 2}],
)
def test_settings_that_change_a_segmentation_change_the_signature(model, changes):
    bundle = load_bundle(model)
    assert signature_of(bundle, PLAIN) != signature_of(bundle, replace(PLAIN, **changes))


def test_settings_that_do_not_leave_it(model):
    bundle = load_bundle(model)
    same = replace(PLAIN, memory_gb=3.0, window_batch_size=2, probabilities=True, uncertainty=True)
    assert signature_of(bundle, PLAIN) == signature_of(bundle, same)


def test_other_members_weights_and_mirroring_change_it(model, tmp_path):
    bundle = load_bundle(model)
    signatures = {signature_of(bundle, PLAIN), signature_of(load_bundle(model, [0]), PLAIN)}
    signatures.add(signature_of(replace(bundle, mirror_axes=(0,)), PLAIN))
    first = bundle.members[0]
    changed = {name: value + 1 for name, value in first.weights.items()}
    save_bundle(tmp_path / "m", replace(bundle, members=(replace(first, weights=changed), *bundle.members[1:])))
    signatures.add(signature_of(load_bundle(tmp_path / "m"), PLAIN))
    assert len(signatures) == 4


def test_only_what_says_that_it_was_made_otherwise_is_refused(tmp_path):
    own, foreign = written(tmp_path / "own.nii.gz", ONE), written(tmp_path / "foreign.nii.gz", "made by hand")
    unknown, absent = written(tmp_path / "unknown.nii.gz", ""), PredictionCase("x", (), tmp_path / "x.nii.gz")
    refuse_others([own, foreign, unknown, absent])
    other = written(tmp_path / "other.nii.gz", OTHER)
    with pytest.raises(UsageError, match=r"1 segmentation there, .*other\.nii\.gz first, was made by another model"):
        refuse_others([own, other, absent])
    with pytest.raises(UsageError, match=r"2 segmentations there, .* were made"):
        refuse_others([replace(case, signature=NEITHER) for case in (own, other, foreign)])


def test_a_folder_of_another_model_or_other_settings_is_refused_as_a_whole(model, tmp_path):
    save_images(tmp_path / "in", ["c0", "c1"])
    places = {"model": str(model), "input": str(tmp_path / "in"), "output": str(tmp_path / "out")}
    settings = PredictSettings(**places, accelerator="cpu", threads=1)
    predict.run(settings)
    (tmp_path / "out" / "c1.nii.gz").unlink()
    before = (tmp_path / "out" / "c0.nii.gz").read_bytes()
    changed = replace(settings, inference=InferenceOverrides(mirror=False))
    with pytest.raises(
        UsageError, match=r"c0\.nii\.gz first, was made by another model or with other inference settings"
    ):
        predict.run(changed)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["c0.nii.gz"]
    assert (tmp_path / "out" / "c0.nii.gz").read_bytes() == before
    predict.run(replace(changed, overwrite=True))
    predict.run(changed)
    with pytest.raises(UsageError, match="2 segmentations"):
        predict.run(settings)
