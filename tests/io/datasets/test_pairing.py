"""Two folders to cases: which files are listed, what becomes of those without a partner, what cases are called."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.cases.dataset import Case
from segfw.core.errors import DataError
from segfw.io.datasets.pairing import find_files, pair

TEXT = st.text("abcxyzABC_-. äé'\",;${}", min_size=1, max_size=6)
CASES = st.lists(
    st.builds("{}{}{}".format, TEXT, st.sampled_from("kqZ"), st.integers(0, 99)),
    min_size=2,
    unique_by=lambda case: case.strip(" _.-"),
)


def files(folder, names):
    """Make empty files and return what the listing should find, {name: path}."""
    for name in names.split():
        path = folder / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return {name: folder / f"{name}.nii.gz" for name in names.split()}


def named(folder, names):
    return {name: Path(folder) / f"{name}.nii.gz" for name in names.split()}


def test_cases_orphans_and_what_lacks_a_channel():
    images = named("/i", "p1_ct p1_pet p2_ct p2_pet p3_ct p3_pet p4_ct p5_ct p5_pet notes")
    labels = named("/l", "p1_seg p2_seg p3_seg p4_seg p9_seg legend")
    found = pair(images, labels)
    assert found.cases[0] == Case("p1", ("/i/p1_ct.nii.gz", "/i/p1_pet.nii.gz"), "/l/p1_seg.nii.gz")
    assert [case.name for case in found.cases] == ["p1", "p2", "p3"]
    assert found.channels == ("ct", "pet")
    assert found.orphan_images == ("p5_ct", "p5_pet", "notes")
    assert found.orphan_labels == ("p9_seg", "legend")
    assert found.incomplete == {"p4": ("pet",)}
    assert str(found.rule) == "images {case}_ct, {case}_pet; label maps {case}_seg"


def test_without_a_pair_everything_is_an_orphan():
    found = pair(named("/i", "a b"), named("/l", "c d"))
    assert (found.cases, found.rule) == ((), None)
    assert (found.orphan_images, found.orphan_labels) == (("a", "b"), ("c", "d"))


def test_one_folder_for_both():
    both = named("/d", "a1 a1_seg a2 a2_seg a3 a4_seg")
    found = pair(both, both)
    assert found.cases == tuple(Case(n, (f"/d/{n}.nii.gz",), f"/d/{n}_seg.nii.gz") for n in ("a1", "a2"))
    assert (found.orphan_images, found.orphan_labels) == (("a3",), ("a4_seg",))


def test_label_maps_in_a_folder_among_those_of_the_images_are_no_images():
    labels = named("/d/labels", "a1 a2")
    images = {f"scans/{name}": path for name, path in named("/d/scans", "a1 a2").items()}
    everything = {**images, **{f"labels/{name}": path for name, path in labels.items()}}
    found = pair(everything, labels)
    assert [case.images for case in found.cases] == [("/d/scans/a1.nii.gz",), ("/d/scans/a2.nii.gz",)]
    assert found.orphan_images == ()


@pytest.mark.parametrize(
    ("images", "labels", "names"),
    [
        ("IMG_001 IMG_002", "SEG_001 SEG_002", ["001", "002"]),
        ("B_1/B_1_t2 B_2/B_2_t2", "B_1/B_1_seg B_2/B_2_seg", ["B_1", "B_2"]),
        ("p1/ct p2/ct", "p1/seg p2/seg", ["p1", "p2"]),
        ("p1/a_ct p1/b_ct p2/a_ct", "p1/a_gt p1/b_gt p2/a_gt", ["p1_a", "p1_b", "p2_a"]),
        ("_a _b", "_a _b", ["a", "b"]),
    ],
)
def test_a_case_is_called_what_its_files_share(images, labels, names):
    assert [case.name for case in pair(named("/i", images), named("/l", labels)).cases] == names


def test_two_cases_of_one_name_are_refused():
    images = named("/i", "a/b_c a_b/c d/c")
    with pytest.raises(DataError, match="different cases would have one case name, 'a_b_c'"):
        pair(images, named("/l", "a/b_c a_b/c d/c"))


@given(cases=CASES, image=st.sampled_from(["", "_img", "_0000"]), label=st.sampled_from(["", "_seg", " mask"]))
def test_every_case_is_paired_with_its_own_files(cases, image, label):
    images = {f"{case}{image}": Path(f"/i/{case}{image}.png") for case in cases}
    labels = {f"{case}{label}": Path(f"/l/{case}{label}.png") for case in cases}
    found = pair(images, labels)
    pairs = {(case.images, case.label) for case in found.cases}
    assert pairs == {((f"/i/{case}{image}.png",), f"/l/{case}{label}.png") for case in cases}
    assert not found.orphan_images
    assert not found.orphan_labels


def test_files_of_a_folder_and_of_the_folders_in_it(tmp_path):
    flat = files(tmp_path / "flat", "b a")
    (tmp_path / "flat" / "notes.txt").touch()
    files(tmp_path / "flat" / "backup", "a")
    assert find_files(tmp_path / "flat") == dict(sorted(flat.items()))
    nested = files(tmp_path / "nested", "p1/p1_ct p2/p2_ct .hidden/x")
    nested.pop(".hidden/x")
    assert find_files(tmp_path / "nested") == nested


def series(folder, *names):
    """Make folders with a file that begins as a DICOM file does."""
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "1.dcm").write_bytes(bytes(128) + b"DICM" + bytes(8))


def test_dicom_series_are_found_as_hospitals_export_them(tmp_path):
    series(tmp_path, "p1", "p2/CT", "p3/study/1", "p4/study/1", "p4/study/2", ".trash/1", "p5/a/b/c/d", "p6/a/b/c/d/e")
    (tmp_path / "p3" / "report.txt").touch()
    places = {"p1": "p1", "p2": "p2/CT", "p3": "p3/study/1", "p4_study_1": "p4/study/1", "p4_study_2": "p4/study/2"}
    places["p5"] = "p5/a/b/c/d"
    assert find_files(tmp_path) == {name: tmp_path / place for name, place in places.items()}


def test_dicom_series_beside_files(tmp_path):
    series(tmp_path, "p1/study/CT")
    expected = files(tmp_path, "p1/seg p2/seg")
    assert find_files(tmp_path) == {**expected, "p1/study/CT": tmp_path / "p1/study/CT"}


def test_two_series_of_one_name_are_named(tmp_path):
    series(tmp_path, "a/b_c", "a/d", "a_b/c", "a_b/d")
    with pytest.raises(DataError, match=r"two images would be called a_b_c: .*a/b_c and .*a_b/c; rename one"):
        find_files(tmp_path)


def test_paths_are_absolute(tmp_path, monkeypatch):
    files(tmp_path, "a")
    monkeypatch.chdir(tmp_path)
    assert find_files(Path("../") / tmp_path.name) == {"a": tmp_path / "a.nii.gz"}


def test_folders_that_are_not_there_or_hold_no_image(tmp_path):
    with pytest.raises(DataError, match=r"there is no folder .*missing"):
        find_files(tmp_path / "missing")
    (tmp_path / "below").mkdir()
    with pytest.raises(DataError, match="holds no image file, nor does a folder in it"):
        find_files(tmp_path)


def test_two_files_of_one_name_are_named(tmp_path):
    files(tmp_path, "a")
    (tmp_path / "a.nrrd").touch()
    with pytest.raises(DataError, match=r"holds a twice: a\.nii\.gz and a\.nrrd"):
        find_files(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_text_is_named(tmp_path):
    (tmp_path / os.fsdecode(b"a\xff.nii.gz")).touch()
    with pytest.raises(DataError, match=r"a\\udcff.nii.gz' is no UTF-8 text"):
        find_files(tmp_path)
