"""Which files make a case, of whatever lies at the input."""

import logging

import numpy as np
import pytest
import SimpleITK as sitk

from segfw import read_volume
from segfw.core.errors import DataError
from segfw.stages.prediction.inputs import find_cases, is_one_case, read_input
from tests.io.formats.dicom_files import write_slice

ONE, TWO, THREE = ("T1",), ("T1", "T2"), ("T1", "T2", "FLAIR")


def touch(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def series(folder):
    folder.mkdir(parents=True)
    for i in range(2):
        write_slice(folder / f"IM{i}", np.zeros((4, 4), np.int16), (0, 0, i))
    return folder


def table(folder, text):
    path = folder / "cases.csv"
    path.write_text(text, encoding="utf-8")
    return path


def names(cases):
    return {case: [path.name for path in paths] for case, paths in cases.items()}


def test_numbered_files_are_channels(tmp_path):
    files = ("b_0001.nii.gz", "b_0000.nii.gz", "a_0000.nii.gz", "a_0001.nii.gz", "notes.txt", "._x.nii.gz")
    assert names(find_cases(touch(tmp_path, *files), TWO)) == {
        "a": ["a_0000.nii.gz", "a_0001.nii.gz"],
        "b": ["b_0000.nii.gz", "b_0001.nii.gz"],
    }


def test_any_name_will_do_for_one_channel(tmp_path):
    folder = touch(tmp_path, "scan.nrrd", "patient 7, left.nii.gz", "p_0001.nii.gz", "p_0002.nii.gz", "q_0000.nii.gz")
    assert set(find_cases(folder, ONE)) == {"scan", "patient 7, left", "p_0001", "p_0002", "q"}


def test_numbers_that_count_cases_stay_in_their_names(tmp_path, caplog):
    folder = touch(tmp_path, "p_0000.nii.gz", "p_0001.nii.gz", "q_0000.nii.gz")
    with caplog.at_level(logging.WARNING):
        assert set(find_cases(folder, ONE)) == {"p_0000", "p_0001", "q"}
    assert "each file of these names is a case, whatever its number: ['p']" in caplog.text


@pytest.mark.parametrize("channels", [ONE, TWO])
def test_a_case_given_twice_is_refused(tmp_path, channels):
    with pytest.raises(DataError, match=r"with and without _0000: \['a'\]"):
        find_cases(touch(tmp_path, "a.nii.gz", "a_0000.nii.gz", "a_0001.nii.gz"), channels)
    (tmp_path / "a_0000.nii.gz").unlink()
    if channels == ONE:
        assert set(find_cases(tmp_path, channels)) == {"a", "a_0001"}
    touch(tmp_path, "a.mha")
    with pytest.raises(DataError, match=r"holds a twice: a\.mha and a\.nii\.gz"):
        find_cases(tmp_path, channels)


def test_one_file_is_one_case(tmp_path):
    touch(tmp_path, "x_0000.nii.gz", "IM1")
    assert names(find_cases(tmp_path / "x_0000.nii.gz", ONE)) == {"x": ["x_0000.nii.gz"]}
    assert names(find_cases(tmp_path / "IM1", ONE)) == {"IM1": ["IM1"]}


def test_one_file_may_hold_all_channels(tmp_path):
    assert names(find_cases(touch(tmp_path, "color.png"), THREE)) == {"color": ["color.png"]}


def test_a_missing_or_misnumbered_channel_is_named(tmp_path):
    folder = touch(tmp_path, "a_0000.nii.gz", "a_0001.nii.gz", "b_0000.nii.gz", "b_0001.nii.gz", "b_0002.nii.gz")
    with pytest.raises(DataError, match=r"takes 3 channels, .*\{'a': \[0, 1\]\}"):
        find_cases(folder, THREE)
    (tmp_path / "other").mkdir()
    other = touch(tmp_path / "other", "x_0001.nii.gz", "x_0002.nii.gz")
    with pytest.raises(DataError, match=r"\{'x': \[1, 2\]\}"):
        find_cases(other, TWO)


def test_nothing_to_segment_is_said(tmp_path):
    with pytest.raises(DataError, match="holds no image file, but no other entry"):
        find_cases(tmp_path, ONE)
    touch(tmp_path, "notes.txt")
    with pytest.raises(DataError, match=r"holds no image file, but 1 other entry: \['notes\.txt'\]"):
        find_cases(tmp_path, ONE)
    with pytest.raises(DataError, match="no file or folder"):
        find_cases(tmp_path / "nowhere", ONE)


def test_dicom_series_is_a_case_named_after_its_folder(tmp_path):
    for name in ("ann", "bob"):
        series(tmp_path / name)
    touch(tmp_path, "carl.nii.gz")
    (tmp_path / "notes").mkdir()
    assert names(find_cases(tmp_path, ONE)) == {"ann": ["ann"], "bob": ["bob"], "carl": ["carl.nii.gz"]}
    assert names(find_cases(tmp_path / "bob", ONE)) == {"bob": ["bob"]}
    (tmp_path / "ann").rename(tmp_path / "x_0000")
    (tmp_path / "bob").rename(tmp_path / "x_0001")
    assert names(find_cases(tmp_path, TWO)) == {"carl": ["carl.nii.gz"], "x": ["x_0000", "x_0001"]}


def test_series_that_lie_deeper_are_named(tmp_path):
    series(tmp_path / "ann" / "study" / "1")
    with pytest.raises(DataError, match=r"series lie deeper: \['ann/study/1'\]; name the folder"):
        find_cases(tmp_path, ONE)


def test_what_counts_as_one_case(tmp_path):
    assert is_one_case(series(tmp_path / "ann"))
    assert is_one_case(tmp_path / "a.nii.gz")
    assert not is_one_case(tmp_path)
    assert not is_one_case(tmp_path / "cases.CSV")


@pytest.mark.parametrize(
    "text",
    [
        "case,T1,T2\nann,one.nii,/far/two.nii",
        "t2;case;t1\n/far/two.nii;ann;one.nii",
        "case,channel_0,channel_1\nann,one.nii,/far/two.nii",
        "case,image_T1,image_1\nann,one.nii,/far/two.nii",
        "case,label,channel_1,T1\nann,,/far/two.nii,one.nii\n",
    ],
)
def test_a_table_names_the_file_of_each_channel(tmp_path, text):
    found = find_cases(table(tmp_path, text), TWO)
    assert {name: list(map(str, files)) for name, files in found.items()} == {
        "ann": [str(tmp_path / "one.nii"), "/far/two.nii"]
    }


def test_a_table_may_name_one_file_for_all_channels(tmp_path):
    path = table(tmp_path, "case,image,patient\na,x.png,7\nb,y.png,7\n")
    assert names(find_cases(path, THREE)) == {"a": ["x.png"], "b": ["y.png"]}
    assert names(find_cases(path, ONE)) == {"a": ["x.png"], "b": ["y.png"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,T1\na,x.nii\n", r"needs a column for each channel of the model, \['T1', 'T2'\], .* are \['T1'\]"),
        ("case,T1,T3\na,x.nii,y.nii\n", r"besides case are \['T1', 'T3'\]"),
        ("case,T1,channel_0,T2\na,x,y,z\n", r"the columns \['T1', 'channel_0'\] both stand for .* channel 'T1'"),
        ("T1,T2\nx.nii,y.nii\n", r"must have a column 'case', got \['T1', 'T2'\]"),
        ("case,T1,T2\na,x.nii,\n", r"case a names no file in column 'T2'"),
        ("case,T1,T2\na,x.nii,y.nii\na,x.nii,z.nii\n", r"row 3: case a has another row already"),
        ("case,T1,T2\n../a,x.nii,y.nii\n", r"must be a plain one, got '\.\./a'"),
        ("case,T1,T2\n.a,x.nii,y.nii\n", r"must be a plain one, got '\.a'"),
        ("case,T1,T2\n", "cases.csv lists no case"),
        ("", "is empty"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        find_cases(table(tmp_path, text), TWO)


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
