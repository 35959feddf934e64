"""Which files make a case."""

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk

from segfw import read_volume
from segfw.core.errors import DataError, UsageError
from segfw.core.verb_settings import InferenceOverrides
from segfw.inference.bundle import save_bundle
from segfw.stages.predict import find_cases, open_predictor, read_input
from tests.inference.tiny_model import make_bundle, make_plan
from tests.io.formats.dicom_files import write_slice


def touch(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def names(cases):
    return {case: [path.name for path in paths] for case, paths in cases.items()}


def test_numbered_files_are_channels(tmp_path):
    files = ("b_0001.nii.gz", "b_0000.nii.gz", "a_0000.nii.gz", "a_0001.nii.gz", "notes.txt", "._x.nii.gz")
    assert names(find_cases(touch(tmp_path, *files), 2)) == {
        "a": ["a_0000.nii.gz", "a_0001.nii.gz"],
        "b": ["b_0000.nii.gz", "b_0001.nii.gz"],
    }


def test_any_name_will_do_for_one_channel(tmp_path):
    folder = touch(tmp_path, "scan.nrrd", "patient 7, left.nii.gz", "p_0001.nii.gz", "p_0002.nii.gz", "q_0000.nii.gz")
    assert set(find_cases(folder, 1)) == {"scan", "patient 7, left", "p_0001", "p_0002", "q"}


def test_a_case_given_twice_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"with and without _0000: \['a'\]"):
        find_cases(touch(tmp_path, "a.nii.gz", "a_0000.nii.gz"), 1)


def test_one_file_is_one_case(tmp_path):
    touch(tmp_path, "x_0000.nii.gz")
    assert names(find_cases(tmp_path / "x_0000.nii.gz", 1)) == {"x": ["x_0000.nii.gz"]}


def test_one_file_may_hold_all_channels(tmp_path):
    assert names(find_cases(touch(tmp_path, "color.png"), 3)) == {"color": ["color.png"]}


def test_a_missing_or_misnumbered_channel_is_named(tmp_path):
    folder = touch(tmp_path, "a_0000.nii.gz", "a_0001.nii.gz", "b_0000.nii.gz", "b_0001.nii.gz", "b_0002.nii.gz")
    with pytest.raises(DataError, match=r"takes 3 channels, .*\{'a': \[0, 1\]\}"):
        find_cases(folder, 3)
    (tmp_path / "other").mkdir()
    other = touch(tmp_path / "other", "x_0001.nii.gz", "x_0002.nii.gz")
    with pytest.raises(DataError, match=r"\{'x': \[1, 2\]\}"):
        find_cases(other, 2)


def test_nothing_to_segment_is_said(tmp_path):
    with pytest.raises(DataError, match="holds no image file"):
        find_cases(tmp_path, 1)
    with pytest.raises(DataError, match="no file or folder"):
        find_cases(tmp_path / "nowhere", 1)


def test_dicom_series_is_a_case_named_after_its_folder(tmp_path):
    for name in ("ann", "bob"):
        (tmp_path / name).mkdir()
        for i in range(2):
            write_slice(tmp_path / name / f"IM{i}", np.zeros((4, 4), np.int16), (0, 0, i))
    touch(tmp_path, "carl.nii.gz")
    (tmp_path / "notes").mkdir()
    assert names(find_cases(tmp_path, 1)) == {"ann": ["ann"], "bob": ["bob"], "carl": ["carl.nii.gz"]}
    assert names(find_cases(tmp_path / "bob", 1)) == {"bob": ["bob"]}
    (tmp_path / "ann").rename(tmp_path / "x_0000")
    (tmp_path / "bob").rename(tmp_path / "x_0001")
    assert names(find_cases(tmp_path, 2)) == {"carl": ["carl.nii.gz"], "x": ["x_0000", "x_0001"]}


@pytest.mark.parametrize("ending", [".nii.gz", ".hdr"])
def test_numbers_that_are_none_are_not_segmented_as_zeros(tmp_path, ending):
    array = np.ones((3, 4, 5), np.float32)
    files = [tmp_path / f"a_000{channel}{ending}" for channel in range(2)]
    for file in files:
        sitk.WriteImage(sitk.GetImageFromArray(array), str(file))
        array[2, 3, 4], array[1, 0, 2] = np.nan, np.inf
    with pytest.raises(DataError, match=rf"a_0001\{ending}: 2 voxels are NaN or infinite, the first at \(1, 0, 2\)"):
        read_input(files)
    assert read_input(files[:1]).array.shape == (1, 3, 4, 5)
    with pytest.raises(DataError, match="2 voxels are NaN"):
        read_volume(files[1])


def test_a_quick_look_takes_some_folds_of_the_model(tmp_path):
    whole = make_bundle(make_plan())
    save_bundle(tmp_path / "m", dataclasses.replace(whole, members=whole.members[:2]))
    for folds, expected in ((None, [0, "full"]), (0, [0]), (("full",), ["full"]), ([0, "full"], [0, "full"])):
        predictor = open_predictor(tmp_path / "m", "cpu", 1, InferenceOverrides(folds=folds, mirror=False))
        assert [member.fold for member in predictor.bundle.members] == expected
        assert not predictor.settings.mirror
    with pytest.raises(UsageError, match=r"no fold 3; its folds are 3d_fullres: 0, full"):
        open_predictor(tmp_path / "m", "cpu", 1, InferenceOverrides(folds=3))
