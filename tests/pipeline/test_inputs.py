"""Inputs that are missing, changed, edited by hand or wrong: the main job says so before anything is trained."""

import sys

import pytest
import SimpleITK as sitk

from segfw.io.datasets.phantom import make_phantom_dataset

pytestmark = pytest.mark.slow


def test_a_missing_input_names_its_stage(segfw, tmp_path):
    status, said = segfw("stages=[plan]", f"output_root={tmp_path}")
    assert status == 1
    assert "fingerprint.yaml is missing" in said
    assert "stages=[fingerprint,...]" in said


def test_an_edited_plan_is_used_announced_and_kept(segfw, tmp_path):
    assert segfw("stages=[fingerprint,plan]", f"output_root={tmp_path}")[0] == 0
    plan = tmp_path / "Demo" / "plans" / "default.yaml"
    edited = plan.read_text().replace("batch_dice: false", "batch_dice: true")
    assert edited != plan.read_text()
    plan.write_text(edited)
    status, said = segfw("stages=[fingerprint,plan]", f"output_root={tmp_path}")
    assert status == 0
    assert "edited by hand" in said
    assert plan.read_text() == edited


def test_an_edited_plan_that_is_stale_besides_says_so(segfw, tmp_path):
    assert segfw("stages=[fingerprint,plan]", f"output_root={tmp_path}")[0] == 0
    plan = tmp_path / "Demo" / "plans" / "default.yaml"
    plan.write_text(plan.read_text().replace("batch_dice: false", "batch_dice: true"))
    status, said = segfw("stages=[plan]", f"output_root={tmp_path}", "planner.gpu_memory_gb=20")
    assert status == 0
    assert "planner.gpu_memory_gb changed since, which the edited plan does not know" in said


def test_changed_raw_data_makes_artefacts_stale(segfw, tmp_path):
    data = tmp_path / "data"
    assert segfw("stages=[fingerprint]", f"data_root={data}", f"output_root={tmp_path}")[0] == 0
    path = data / "Demo" / "imagesTr" / "demo_03.nii.gz"
    image = sitk.ReadImage(str(path))
    image[5, 5, 5] = 77
    sitk.WriteImage(image, str(path))
    status, said = segfw("stages=[plan]", f"data_root={data}", f"output_root={tmp_path}")
    assert (status, "stale (dataset changed since)" in said) == (1, True), said
    status, said = segfw("stages=[fingerprint]", f"data_root={data}", f"output_root={tmp_path}")
    assert (status, "made anew, dataset changed since" in said) == (0, True), said


def test_undeclared_label_values_are_named(segfw, tmp_path):
    data = tmp_path / "data"
    make_phantom_dataset(data / "Demo")
    path = data / "Demo" / "labelsTr" / "demo_04.nii.gz"
    label = sitk.ReadImage(str(path))
    label[3, 3, 3] = 7
    sitk.WriteImage(label, str(path))
    status, said = segfw("stages=[fingerprint]", f"data_root={data}", f"output_root={tmp_path}")
    assert status == 1
    assert "demo_04  error     label-values  value 7 in 1 voxel; declared are 0, 1, 2, 3" in said
    assert not (tmp_path / "Demo" / "fingerprint.yaml").exists()


def test_what_training_would_refuse_is_said_first(segfw, tmp_path):
    for change, message in (
        ("+callbacks.x._target_=nonsense.Foo", "callbacks.x._target_: cannot import 'nonsense.Foo'"),
        ("augmentation.device=cpu data.cache=device", "augmentation.device=cpu keeps the augmentation where patches"),
        ("trainer.accelerator=mps", "PyTorch finds no Apple GPU")
        if sys.platform == "linux"
        else ("trainer.accelerator=cuda", "there is no CUDA device"),
    ):
        status, said = segfw(*change.split(), f"output_root={tmp_path}")
        assert status in (1, 2)
        assert message in said
        assert not (tmp_path / "Demo" / "fingerprint.yaml").exists()


def test_a_file_in_a_folders_place_is_named(segfw, tmp_path):
    (tmp_path / "file").write_text("")
    status, said = segfw(f"output_root={tmp_path / 'file'}")
    assert status in (1, 2)
    assert str(tmp_path / "file") in said
    assert "unexpected" not in said
