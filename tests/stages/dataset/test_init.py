"""Verb `init`: from two folders to a task file that the main job takes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import segfw.__main__ as program
from segfw.core.cases.dataset import Case
from segfw.core.settings.schema import TaskSettings
from segfw.io.datasets.layouts import read_dataset
from segfw.stages.dataset import init
from tests.stages.dataset.two_folders import rows, run, two_folders, volume, write, write_series

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("SEGFW_TEST_DATA", "data")).absolute()


def test_two_folders_become_a_task(tmp_path, capsys):
    two_folders()
    write("img/p7_img.nii.gz", np.zeros((2, 3, 4), np.float32))
    write("seg/p9_seg.nii.gz", volume(1))
    task, shown = run(capsys)
    assert task == {
        "name": "Mine",
        "folder": f"{tmp_path}/configs/task/Mine.csv",
        "modality": "CT",
        "channels": ["CT"],
        "labels": {"background": 0, "label_1": 1, "label_2": 2},
    }
    assert rows() == [
        ["case", "image", "label"],
        *([p, f"{tmp_path}/img/{p}_img.nii.gz", f"{tmp_path}/seg/{p}_seg.nii.gz"] for p in ("p1", "p2")),
    ]
    assert (
        shown
        == """\
2 pairs: images {case}_img; label maps {case}_seg
  case  image          label map
  p1    p1_img.nii.gz  p1_seg.nii.gz
  p2    p2_img.nii.gz  p2_seg.nii.gz
images without a label map, left out (1): p7_img
label maps without an image, left out (1): p9_seg

label values
  value  cases  voxels
      0      2      44
      1      2       2
      2      2       2

shapes (Z, Y, X): 2 x 3 x 4 voxels
spacings (Z, Y, X): 3 x 1 x 1 mm
modality: CT
1 channel (normalization): CT (ct)

wrote configs/task/Mine.yaml and configs/task/Mine.csv; name the labels there, then
  python -m segfw verify +task=Mine
"""
    )


def test_the_task_is_read_as_a_dataset(capsys):
    two_folders(values=(205, 3))
    task, shown = run(capsys)
    assert task["labels"] == {"background": 0, "label_3": 3, "label_205": 205}
    assert task["remap"] == {3: 1, 205: 2}
    assert "label values do not count up from 0; remap: {3: 1, 205: 2} in the task file renumbers them" in shown
    settings = TaskSettings("Mine", task["folder"], channels=("CT",), labels=task["labels"], remap=task["remap"])
    dataset = read_dataset(settings, Path("data"))
    assert [case.name for case in dataset.cases] == ["p1", "p2"]
    assert dataset.labels.values == {"background": 0, "label_3": 1, "label_205": 2}


def test_the_regions_that_a_comment_proposes_are_valid(capsys):
    two_folders(values=(5, 7, 9))
    task, _ = run(capsys)
    proposed = re.search(r"^# (regions: .*)$", Path("configs/task/Mine.yaml").read_text(), re.MULTILINE)
    regions = yaml.safe_load(proposed[1])["regions"]
    settings = TaskSettings("Mine", task["folder"], channels=("CT",), regions=regions, remap=task["remap"])
    assert read_dataset(settings, Path("data")).labels.values == {
        "background": 0,
        "whole": (1, 2, 3),
        "core": (2, 3),
        "inner": (3,),
    }


def test_files_as_channels_bear_their_words(capsys):
    for case in ("p1", "p2"):
        for word in ("flair", "t1"):
            write(f"d/{case}/{case}_{word}.nii.gz", np.ones((2, 3, 4), np.float32))
        write(f"d/{case}/{case}_seg.nii.gz", volume(1))
    task, shown = run(capsys, images="d", labels="d", modality="MR")
    assert (task["modality"], task["channels"]) == ("MRI", ["flair", "t1"])
    assert rows()[0] == ["case", "image_flair", "image_t1", "label"]
    assert "  p1    p1_flair.nii.gz, p1_t1.nii.gz  p1_seg.nii.gz\n" in shown
    assert "2 channels (normalization): flair (zscore), t1 (zscore)" in shown


def test_numbered_channels_bear_the_modality_and_its_normalization(capsys):
    for case in ("p1", "p2"):
        for number in (0, 1):
            write(f"img/{case}_{number:04}.nii.gz", np.ones((2, 3, 4), np.float32))
        write(f"seg/{case}.nii.gz", volume(1))
    task, shown = run(capsys)
    assert (task["channels"], task["normalization"]) == (["CT 1", "CT 2"], ["ct", "ct"])
    assert "2 channels (normalization): CT 1 (ct), CT 2 (ct)" in shown


def test_color_pictures_with_masks_of_255(capsys):
    for case in ("a", "b"):
        write(f"img/{case}.png", np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3))
        write(f"seg/{case}.png", volume(255, shape=(4, 5)))
    task, shown = run(capsys, modality=None)
    assert "modality" not in task
    assert task["channels"] == ["R", "G", "B"]
    assert (task["labels"], task["remap"]) == ({"background": 0, "label_255": 255}, {255: 1})
    assert "shapes (Y, X): 4 x 5 voxels\nmodality" in shown
    assert "modality: not given; modality=CT, for one, would normalize by Hounsfield units" in shown


def test_many_cases_are_shown_in_part_and_patients_with_several_are_pointed_out(capsys):
    two_folders([f"patient{patient:03}_frame{frame:02}" for patient in range(11) for frame in (1, 2)])
    _, shown = run(capsys)
    assert "patient004_frame02" in shown
    assert "patient005_frame01" not in shown
    assert "  ... and 12 more\n" in shown
    assert "'split.group_pattern=(.+)_'" in Path("configs/task/Mine.yaml").read_text()


def test_hospitals_are_not_taken_for_patients(capsys):
    two_folders([f"hospital{site}_case{number:02}" for site in (1, 2, 3) for number in (1, 2)])
    run(capsys)
    assert "group_pattern" not in Path("configs/task/Mine.yaml").read_text()


@pytest.mark.parametrize(
    ("images", "labels", "number", "channels", "values"),
    [
        ("Dataset027_ACDC/imagesTr", "Dataset027_ACDC/labelsTr_scribble", 40, ["MRI"], [0, 1, 2, 3, 4]),
        ("Dataset120_Nuclei/imagesTr", "Dataset120_Nuclei/labelsTr", 79, ["R", "G", "B"], [0, 1]),
        ("single_ct", "single_ct", 1, ["MRI"], [0, 1]),
    ],
)
def test_real_folders(capsys, images, labels, number, channels, values):
    if not (DATA / images).is_dir():
        pytest.skip(f"needs real data in {DATA / images}; set SEGFW_TEST_DATA")
    task, shown = run(capsys, images=str(DATA / images), labels=str(DATA / labels), modality="MRI")
    assert shown.startswith(f"{number} pair")
    assert (task["channels"], list(task["labels"].values())) == (channels, values)
    assert ("torso_ct_3mm" in shown) == (images == "single_ct")


@pytest.mark.parametrize("place", ["img/{}", "img/{}/CT", "img/{}/study_of_{}/series_{}"])
def test_folders_of_dicom_series_are_images(tmp_path, capsys, place):
    for case in ("p1", "p2"):
        write_series(Path(place.format(case, case, case)), np.arange(24, dtype=np.int16).reshape(2, 3, 4))
        write(f"seg/{case}.nii.gz", volume(1))
    task, _ = run(capsys)
    assert task["channels"] == ["CT"]
    assert rows()[1] == ["p1", str(tmp_path / place.format("p1", "p1", "p1")), f"{tmp_path}/seg/p1.nii.gz"]


def test_case_channels_that_are_missing_are_shown(capsys):
    for case in ("p1", "p2", "p3"):
        write(f"img/{case}_t1.nii.gz", volume())
        write(f"img/{case}_t2.nii.gz", volume())
        write(f"seg/{case}.nii.gz", volume(1))
    Path("img/p3_t2.nii.gz").unlink()
    _, shown = run(capsys)
    assert "cases without the image of a channel, left out (1): p3 (t2)\n" in shown


def test_many_label_values_beside_images_are_kept(capsys):
    for case in ("p1", "p2"):
        write(f"img/{case}.nii.gz", np.linspace(0, 1, 70, dtype=np.float32).reshape(2, 5, 7))
        write(f"seg/{case}.nii.gz", np.arange(1000, 1070, dtype=np.int16).reshape(2, 5, 7))
    _, shown = run(capsys)
    assert "70 values are many: are these images, or numbered objects instead of classes?" in shown


def test_the_values_of_a_case_are_counted():
    write("a.nii.gz", volume(-1, 7, 7, shape=(3, 2, 2)), (1, 1, 2))
    expected = init.LabelSurvey({-1: 1, 0: 9, 7: 2}, (3, 2, 2), (2, 1, 1))
    assert init.survey_case(Case("a", ("a.nii.gz",), "a.nii.gz")) == expected


def test_processes_count_the_same(capsys):
    two_folders([f"p{number}" for number in range(8)])
    _, alone = run(capsys)
    _, shared = run(capsys, workers=2, overwrite=True)
    assert alone == shared


def test_the_next_command_finds_another_folder(capsys):
    two_folders()
    _, shown = run(capsys, config_dir="my configs", name="My set")
    assert shown.endswith("python -m segfw verify --config-dir 'my configs' '+task=My set'\n")


def test_help_lists_every_key(capsys):
    assert program.main(["init", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "usage: python -m segfw init images=DIR labels=DIR name=Mine modality=CT" in shown
    for key in ("images", "labels", "name", "modality", "config_dir", "overwrite", "workers"):
        assert re.search(rf"^{key}: .* # \w", shown, re.MULTILINE)


def segfw(*words):
    command = [sys.executable, "-m", "segfw", *words]
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", check=False, env={"PYTHONPATH": str(ROOT), "PATH": ""}
    )


def test_from_the_command_line_to_a_task_that_is_found(tmp_path):
    odd = tmp_path / "it's a, [set] of ünits=${x}"
    two_folders([f"p {number}, a" for number in (1, 2)], folder=odd)
    done = segfw("init", f"images={odd}/img", f"labels={odd}/seg", "name=Mine", "modality=CT")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("python -m segfw verify +task=Mine\n")
    composed = segfw("experiment", "--help", "+task=Mine")
    assert composed.returncode == 0, composed.stderr
    assert f'folder: "{tmp_path}/configs/task/Mine.csv"' in composed.stdout
    assert rows()[1] == ["p 1, a", f"{odd}/img/p 1, a_img.nii.gz", f"{odd}/seg/p 1, a_seg.nii.gz"]


@pytest.mark.slow
def test_the_main_job_plans_the_task():
    random = np.random.default_rng(0)
    for case in ("p1", "p2", "p3", "p4", "p5"):
        label = np.zeros((24, 32, 32), np.uint8)
        label[8:16, 10:20, 10:20] = 205
        write(f"img/{case}_0000.nii.gz", random.normal(label, 20).astype(np.float32))
        write(f"seg/{case}.nii.gz", label)
    assert segfw("init", "images=img", "labels=seg", "name=Mine", "modality=CT").returncode == 0
    done = segfw("+task=Mine", "stages=[fingerprint,plan]", "executor.workers=0")
    assert done.returncode == 0, done.stderr
    plan = yaml.safe_load(Path("outputs/Mine/plans/default.yaml").read_text())
    assert "3d_fullres" in plan["configurations"]
    assert plan["channel_names"] == ["CT"]
