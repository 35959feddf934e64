"""Which files of a folder make a case, and what is said of files that are missing or too many."""

import json

import numpy as np
import pytest

from segfw.core.errors import DataError
from segfw.core.settings.schema import TaskSettings
from segfw.io.datasets.layouts import missing_files, orphan_labels, read_dataset, require_files
from tests.io.datasets.toy_folder import NNUNET, ONE_CHANNEL, TASK, make
from tests.io.formats.dicom_files import write_slice

RGB = NNUNET | {"channel_names": {"0": "R", "1": "G", "2": "B"}, "file_ending": ".png"}


def test_single_channel_without_suffix_even_with_four_digits(tmp_path):
    names = ["p_0001.nii.gz", "p_0002.nii.gz", "q.nii.gz"]
    make(tmp_path, ONE_CHANNEL, names, names)
    assert [case.name for case in read_dataset(TASK, tmp_path).cases] == ["p_0001", "p_0002", "q"]


def test_one_file_may_hold_all_channels(tmp_path):
    folder = make(tmp_path, RGB, ["a_0000.png", "b_0000.png"], ["a.png", "b.png"])
    assert [case.images for case in read_dataset(TASK, tmp_path).cases] == [
        (str(folder / f"imagesTr/{name}_0000.png"),) for name in "ab"
    ]


def test_colors_and_depth_are_two_files_of_four_channels(tmp_path):
    rgbd = {"channel_names": {**RGB["channel_names"], "3": "depth"}}
    make(tmp_path, RGB | rgbd, ["a_0000.png", "a_0001.png", "b_0000.png"], ["a.png", "b.png"])
    dataset = read_dataset(TASK, tmp_path)
    assert [len(case.images) for case in dataset.cases] == [2, 2]
    assert list(missing_files(dataset)) == ["b"]


def test_a_dicom_series_is_an_image(tmp_path):
    folder = make(tmp_path, ONE_CHANNEL, [], ["a.nii.gz"])
    (folder / "imagesTr/a_0000").mkdir()
    write_slice(folder / "imagesTr/a_0000/IM1", np.zeros((2, 2), np.int16))
    (folder / "imagesTr/backup").mkdir()
    dataset = read_dataset(TASK, tmp_path)
    assert [case.images for case in dataset.cases] == [(str(folder / "imagesTr/a_0000"),)]
    require_files(dataset)
    (folder / "dataset.json").write_text(json.dumps({k: v for k, v in NNUNET.items() if k != "file_ending"}))
    one = TaskSettings(name="Toy", channels=("CT",))
    assert read_dataset(one, tmp_path).file_ending == ".nii.gz"


def test_labels_of_another_ending_are_found(tmp_path):
    make(tmp_path, RGB | {"file_ending": ".jpg"}, ["a.jpg"], ["a.png"])
    assert read_dataset(TASK, tmp_path).cases[0].label.endswith("a.png")


def test_an_image_without_label_is_named_as_most_others_are(tmp_path):
    names = [f"scan_{number:04}.nii.gz" for number in range(1, 4)]
    folder = make(tmp_path, ONE_CHANNEL, names, names[:2])
    dataset = read_dataset(TASK, tmp_path)
    assert [case.name for case in dataset.cases] == ["scan_0001", "scan_0002", "scan_0003"]
    assert missing_files(dataset) == {"scan_0003": (str(folder / "labelsTr/scan_0003.nii.gz"),)}


def test_labels_without_image_are_orphans(tmp_path):
    folder = make(tmp_path, NNUNET, ["a_0000.nii.gz", "a_0001.nii.gz"], ["a.nii.gz", "b.nii.gz", "notes.txt"])
    assert orphan_labels(TASK, tmp_path, read_dataset(TASK, tmp_path)) == (str(folder / "labelsTr/b.nii.gz"),)


def test_missing_files_are_counted_and_ten_are_named(tmp_path):
    names = [f"c{i:02}.nii.gz" for i in range(12)]
    make(tmp_path, ONE_CHANNEL, names, names[:1])
    with pytest.raises(DataError, match="11 of 24 files are missing") as caught:
        require_files(read_dataset(TASK, tmp_path))
    message = str(caught.value)
    assert "labelsTr/c01.nii.gz" in message
    assert "labelsTr/c10.nii.gz" in message
    assert "c11.nii.gz" not in message
    assert "and 1 more" in message


def test_a_missing_channel_is_a_missing_file(tmp_path):
    names = ["a_0000.nii.gz", "a_0001.nii.gz", "b_0000.nii.gz", "c_0001.nii.gz"]
    folder = make(tmp_path, NNUNET, names, ["a.nii.gz", "b.nii.gz", "c.nii.gz"])
    dataset = read_dataset(TASK, tmp_path)
    assert [case.name for case in dataset.cases] == ["a", "b", "c"]
    assert missing_files(dataset) == {
        "b": (str(folder / "imagesTr/b_0001.nii.gz"),),
        "c": (str(folder / "imagesTr/c_0000.nii.gz"),),
    }


def test_a_surplus_channel_is_named(tmp_path):
    names = [f"a_{channel:04}.nii.gz" for channel in range(4)]
    make(tmp_path, NNUNET, names, ["a.nii.gz"])
    with pytest.raises(DataError, match="of 2 channels are numbered 0000 to 0001, 2 have higher") as caught:
        read_dataset(TASK, tmp_path)
    assert "imagesTr/a_0002.nii.gz" in str(caught.value)
    assert "imagesTr/a_0003.nii.gz" in str(caught.value)


def test_a_name_with_and_without_a_channel_number_is_two_claims(tmp_path):
    make(tmp_path, NNUNET, ["a_0000.nii.gz", "a_0001.nii.gz", "a.nii.gz"], ["a.nii.gz"])
    with pytest.raises(DataError, match=r"case a: has files with and without a channel number"):
        read_dataset(TASK, tmp_path)
