"""Dataset folders of both layouts and lists of files become datasets, or an error says what is wrong with them."""

import json
import logging
import os
from pathlib import Path

import pytest

from segfw.core.errors import DataError, UsageError
from segfw.core.settings.schema import TaskSettings
from segfw.io.datasets.layouts import orphan_labels, read_dataset
from tests.io.datasets.toy_folder import DECATHLON, NNUNET, ONE_CHANNEL, TASK, make

REAL_DATA = Path(os.environ.get("SEGFW_TEST_DATA", "absent"))


def test_nnunet_layout_groups_channels(tmp_path):
    names = [f"{case}_000{channel}.nii.gz" for case in ("b", "a") for channel in (1, 0)]
    folder = make(tmp_path, NNUNET, [*names, ".hidden_0000.nii.gz", "notes.txt"], ["a.nii.gz", "b.nii.gz"])
    dataset = read_dataset(TASK, tmp_path)
    assert [case.name for case in dataset.cases] == ["a", "b"]
    assert dataset.cases[0].images == (str(folder / "imagesTr/a_0000.nii.gz"), str(folder / "imagesTr/a_0001.nii.gz"))
    assert dataset.cases[0].label == str(folder / "labelsTr/a.nii.gz")
    assert (dataset.name, dataset.channel_names, dataset.num_training) == ("Toy", ("T1", "T2"), 2)
    assert dataset.labels.values == {"background": 0, "a": 1}


@pytest.mark.parametrize(
    ("reader", "told"),
    [("NibabelIOWithReorient", True), ("MyReader", True), ("NibabelIO", False), ("Tiff3DIO", False), ("None", False)],
)
def test_a_reader_that_turns_images_is_not_used_which_is_said(tmp_path, caplog, reader, told):
    make(tmp_path, ONE_CHANNEL | {"overwrite_image_reader_writer": reader}, ["a_0000.nii.gz"], ["a.nii.gz"])
    read_dataset(TASK, tmp_path)
    assert (f"asks for {reader!r}, which is not used: images are read as they are stored" in caplog.text) == told


def test_decathlon_layout_sorts_cases_and_inverts_labels(tmp_path):
    names = ["toy_2.nii.gz", "toy_10.nii.gz"]
    folder = make(tmp_path, DECATHLON, [*names, "._toy_2.nii.gz"], names)
    dataset = read_dataset(TASK, tmp_path)
    assert [case.name for case in dataset.cases] == ["toy_10", "toy_2"]
    assert dataset.cases[1].images == (str(folder / "imagesTr/toy_2.nii.gz"),)
    assert dataset.labels.values == {"background": 0, "left": 1, "right": 2}
    assert (dataset.channel_names, dataset.file_ending) == (("MRI",), ".nii.gz")
    assert (dataset.licence, dataset.reference) == ("CC0", "Somewhere")


def test_explicit_list_keeps_its_order_and_expands_variables(tmp_path, monkeypatch):
    elsewhere = make(tmp_path / "elsewhere", None, ["y.nii.gz"], ["y.nii.gz"])
    monkeypatch.setenv("TOY_FILES", str(elsewhere))
    listed = {
        "z": {"images": ["$TOY_FILES/imagesTr/y.nii.gz"], "label": str(elsewhere / "labelsTr/y.nii.gz")},
        "a": {"images": ["imagesTr/x.nii.gz"], "label": "labelsTr/x.nii.gz"},
    }
    folder = make(tmp_path, NNUNET | {"dataset": listed}, ["x.nii.gz"], ["x.nii.gz"])
    z, a = read_dataset(TASK, tmp_path).cases
    assert (z.name, z.images) == ("z", (str(elsewhere / "imagesTr/y.nii.gz"),))
    assert (a.name, a.label) == ("a", str(folder / "labelsTr/x.nii.gz"))


def test_regions_and_ignore(tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    description = ONE_CHANNEL | {"labels": labels, "regions_class_order": [1, 2]}
    make(tmp_path, description, ["a.nii.gz"], ["a.nii.gz"])
    found = read_dataset(TASK, tmp_path).labels
    assert found.foreground == (("whole", (1, 2)), ("core", (2,)))
    assert found.ignore_value == 3


def test_task_overrides_the_description(tmp_path):
    names = ["toy_2.nii.gz", "toy_10.nii.gz"]
    make(tmp_path, DECATHLON, names, names, label_folder="labels_B")
    task = TaskSettings(
        name="X", folder="Toy", label_folder="labels_B", channels=("CT",), labels={"background": 0, "both": [1, 2]}
    )
    dataset = read_dataset(task, tmp_path)
    assert dataset.labels.regions_class_order == (1,)
    assert dataset.channel_names == ("CT",)
    assert dataset.labels.foreground == (("both", (1, 2)),)
    assert dataset.cases[0].label == str(tmp_path / "Toy/labels_B/toy_10.nii.gz")


def test_folder_without_description_needs_only_task_keys(tmp_path):
    make(tmp_path, None, ["a.nrrd", "b.nrrd"], ["a.nrrd", "b.nrrd"])
    dataset = read_dataset(TaskSettings(folder="Toy", modality="CT", labels={"background": 0, "x": 1}), tmp_path)
    assert (dataset.name, dataset.file_ending, dataset.channel_names) == ("Toy", ".nrrd", ("CT",))
    with pytest.raises(UsageError, match=r"task\.channels"):
        read_dataset(TASK, tmp_path)


def test_label_folder_may_be_absolute(tmp_path):
    make(tmp_path, ONE_CHANNEL, ["a.nii.gz"])
    elsewhere = make(tmp_path / "elsewhere", None, [], ["a.nii.gz"]) / "labelsTr"
    task = TaskSettings(name="Toy", label_folder=str(elsewhere))
    assert read_dataset(task, tmp_path).cases[0].label == str(elsewhere / "a.nii.gz")


def test_a_folder_that_holds_one_list_is_described_by_dataset_json(tmp_path):
    folder = tmp_path / "Toy"
    folder.mkdir()
    (folder / "dataset.json").write_text(
        json.dumps({"channel_names": {"0": "CT"}, "labels": {"background": 0, "x": 1}})
    )
    (folder / "files.csv").write_text("image,label,patient\nimages/b.mha,masks/b.mha,7\nimages/a.mha,masks/a.mha,7\n")
    (folder / "repaired_files.csv").write_text("image,label\n")
    dataset = read_dataset(TASK, tmp_path)
    assert [case.name for case in dataset.cases] == ["b", "a"]
    assert dataset.cases[0].images == (str(folder / "images/b.mha"),)
    assert dataset.cases[0].table == {"patient": "7"}
    assert (dataset.channel_names, dataset.num_training, dataset.file_ending) == (("CT",), 2, ".mha")
    named = TaskSettings(name="Toy", folder="Toy/files.csv")
    assert read_dataset(named, tmp_path) == dataset
    assert orphan_labels(named, tmp_path, dataset) == ()
    (folder / "other.yml").write_text("[]")
    with pytest.raises(DataError, match=r"several lists of files: files\.csv, other\.yml; name one as task\.folder"):
        read_dataset(TASK, tmp_path)


def test_columns_name_channels_unless_the_task_does(tmp_path):
    (tmp_path / "mine.csv").write_text("case,image_T1,image_CT,label\na,a1.mha,a2.mha,a3.mha\n")
    task = TaskSettings(name="Toy", folder="mine.csv", labels={"background": 0, "x": 1})
    assert read_dataset(task, tmp_path).channel_names == ("T1", "CT")
    named = TaskSettings(**(vars(task) | {"channels": ("MRI", "PET")}))
    assert read_dataset(named, tmp_path).channel_names == ("MRI", "PET")
    three = TaskSettings(**(vars(task) | {"channels": ("A", "B", "C")}))
    with pytest.raises(DataError, match=r"needs 3 image files .* 1 cases do not have them: a \(2\)"):
        read_dataset(three, tmp_path)


@pytest.mark.parametrize(
    ("images", "modality", "channels"),
    [
        (["a.nii.gz"], "mr", ("MRI",)),
        (["a_0000.nii.gz", "a_0001.nii.gz"], "computed tomography", ("CT", "CT")),
        (["a_0000.nii.gz"], "RGB", ("R", "G", "B")),
    ],
)
def test_ones_own_word_names_every_channel(tmp_path, images, modality, channels):
    make(tmp_path, None, images, ["a.nii.gz"])
    task = TaskSettings(name="Toy", modality=modality, labels={"background": 0, "x": 1})
    assert read_dataset(task, tmp_path).channel_names == channels


def test_an_overruled_modality_is_told(tmp_path, caplog):
    make(tmp_path, DECATHLON, [], [])
    with caplog.at_level(logging.WARNING):
        assert read_dataset(TaskSettings(name="Toy", modality="CT"), tmp_path).channel_names == ("MRI",)
    assert "task.modality=CT is not used" in caplog.text
    caplog.clear()
    read_dataset(TaskSettings(name="Toy", modality="T2"), tmp_path)
    assert not caplog.text


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="SEGFW_TEST_DATA names no folder")
@pytest.mark.parametrize(
    ("name", "count"),
    [("Task04_Hippocampus", 260), ("Dataset027_ACDC", 40), ("Dataset120_Nuclei", 79), ("Dataset121_Membranes", 30)],
)
def test_real_datasets(name, count):
    dataset = read_dataset(TaskSettings(name=name), REAL_DATA)
    assert len(dataset.cases) == dataset.num_training == count
    assert all(len(case.images) == 1 for case in dataset.cases)


def test_missing_folder_says_how_to_get_it(tmp_path):
    task = TaskSettings(name="Task04_Hippocampus", folder="Task04_Hippocampus", url="https://host/x.tar")
    with pytest.raises(DataError, match="Task04_Hippocampus") as caught:
        read_dataset(task, tmp_path)
    assert str(tmp_path / "Task04_Hippocampus") in str(caught.value)
    assert f"python -m segfw download +task=Task04 data_root={tmp_path}" in str(caught.value)


def test_missing_folder_of_ones_own_data(tmp_path):
    with pytest.raises(DataError, match="no dataset folder") as caught:
        read_dataset(TaskSettings(name="Mine"), tmp_path)
    assert "download" not in str(caught.value)


def test_no_name_at_all():
    with pytest.raises(UsageError, match=r"\+task=NAME"):
        read_dataset(TaskSettings(), Path("data"))


def test_a_list_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"there is no list of files .*/mine\.csv"):
        read_dataset(TaskSettings(name="Toy", folder="mine.csv"), tmp_path)


def test_a_folder_of_loose_files_is_told_to_be_no_dataset(tmp_path):
    root = tmp_path / "my data"
    (root / "Toy").mkdir(parents=True)
    (root / "Toy/scan.nii.gz").touch()
    with pytest.raises(
        DataError, match=r"Toy is no dataset: it holds neither dataset.json.*\n.*segfw init images='/.*Toy'"
    ):
        read_dataset(TASK, root)


def test_missing_subfolder_and_empty_dataset(tmp_path):
    folder = make(tmp_path, NNUNET)
    with pytest.raises(DataError, match="holds no training case"):
        read_dataset(TASK, tmp_path)
    (folder / "labelsTr").rmdir()
    with pytest.raises(DataError, match="has no folder labelsTr"):
        read_dataset(TASK, tmp_path)


@pytest.mark.parametrize("listed", [False, True])
def test_a_label_folder_that_is_not_there_is_a_fault_of_the_settings(tmp_path, listed):
    folder = make(tmp_path, ONE_CHANNEL, ["a_0000.nii.gz"], ["a.nii.gz"])
    (folder / "list.csv").write_text("image,label\na_0000.nii.gz,a.nii.gz\n")
    task = TaskSettings(name="Toy", folder="Toy/list.csv" if listed else "Toy", label_folder="labelsTr_scrible")
    expected = r"task\.label_folder: there is no folder .*Toy/labelsTr_scrible; .*Toy holds imagesTr, labelsTr$"
    with pytest.raises(UsageError, match=expected):
        read_dataset(task, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": {"background": 0, "a": "one"}}, "must give 'a' an integer or a list of integers, got 'one'"),
        ({"labels": {}}, "must map names to values"),
        ({"labels": {"background": 0, "a": [1, "2"]}}, r"list of integers for 'a', got \[1, '2'\]"),
        ({"numTraining": "two"}, "numTraining .* got 'two'"),
        ({"dataset": {"a": {"images": "x"}}}, r"dataset\.a .*must be"),
    ],
)
def test_wrong_descriptions_are_explained(tmp_path, change, message):
    make(tmp_path, ONE_CHANNEL | change, ["a.nii.gz"], ["a.nii.gz"])
    with pytest.raises(DataError, match=message):
        read_dataset(TASK, tmp_path)


def test_broken_json_is_named(tmp_path):
    folder = make(tmp_path, None)
    (folder / "dataset.json").write_text('{"labels": ')
    with pytest.raises(DataError, match=r"dataset\.json is not valid JSON: .*line 1"):
        read_dataset(TASK, tmp_path)


def test_a_name_that_is_no_file_name_is_refused(tmp_path):
    listed = {"site1/a": {"images": ["a.nii.gz"], "label": "b.nii.gz"}}
    make(tmp_path, ONE_CHANNEL | {"dataset": listed})
    with pytest.raises(DataError, match="case 'site1/a': the name of a case is that of its files"):
        read_dataset(TASK, tmp_path)


def test_a_tilde_in_the_folder_is_a_name_and_a_missing_one_is_told_so(tmp_path):
    make(tmp_path, DECATHLON, ["toy_2.nii.gz"], ["toy_2.nii.gz"]).rename(tmp_path / "~T")
    last = read_dataset(TaskSettings(name="T", folder="~T"), tmp_path).cases[-1]
    assert last.label == str(tmp_path / "~T/labelsTr/toy_2.nii.gz")
    with pytest.raises(DataError, match=rf"no dataset folder {tmp_path}/~/scans \(~ is a name .*write \$HOME\)"):
        read_dataset(TaskSettings(name="T", folder="~/scans"), tmp_path)
