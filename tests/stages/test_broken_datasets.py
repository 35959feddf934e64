"""Deliberately broken datasets, and some that only look so: each gets the right verdict, in words that name it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.stages.tiny_dataset import (
    CASES,
    SHAPE,
    SPACING,
    describe,
    image_file,
    image_of,
    label_file,
    label_of,
    make,
    verdict,
    write,
)

ROOT = Path(__file__).parents[2]
BROKEN = {}


def broken(status, kind, *fragments, **options):
    """Register a function that breaks the dataset in a folder, with what verification is to say of it."""

    def register(function):
        BROKEN[function.__name__] = (function, status, kind, fragments, options)
        return function

    return register


def changed(array, value, *places):
    array = array.astype(np.float32 if isinstance(value, float) else np.int16)
    for place in places:
        array[place] = value
    return array


def color_image(case, size=(5, 6), components=3, last=None):
    array = np.random.default_rng(CASES.index(case)).integers(0, 255, (*size, components)).astype(np.uint8)
    if last is not None:
        array[..., -1] = last
    return array


def make_natural(folder, components, last=None, channels=3):
    for sub in ("imagesTr", "labelsTr"):
        for path in (folder / sub).iterdir():
            path.unlink()
    describe(folder, channel_names={str(i): c for i, c in enumerate("RGBA"[:channels])}, file_ending=".png")
    for case in CASES:
        array = color_image(case, components=components, last=last)
        image = sitk.GetImageFromArray(array, isVector=True)
        sitk.WriteImage(image, str(image_file(folder, case, ending=".png")))
        sitk.WriteImage(sitk.GetImageFromArray(label_of(case)[1]), str(label_file(folder, case, ".png")))


def make_two_channels(folder):
    listed = {
        case: {
            "images": [f"imagesTr/{case}_0000.nii.gz", f"imagesTr/{case}_0001.nii.gz"],
            "label": f"labelsTr/{case}.nii.gz",
        }
        for case in CASES
    }
    describe(folder, channel_names={"0": "T1", "1": "T2"}, dataset=listed)
    for case in CASES:
        write(image_file(folder, case, 1), image_of(case) + 1)


# --- grids ---------------------------------------------------------------------------------------------------------


@broken(1, "shape", "bob", "label map: 4 x 5 x 7 voxels (z, y, x), the image 4 x 5 x 6")
def label_of_another_shape(folder):
    write(label_file(folder, "bob"), np.ones((4, 5, 7), np.uint8))


@broken(1, "spacing", "bob", "spacing 2.2 x 0.5 x 0.5 mm", "0.1 voxels (0.2 mm) off", "verify.tolerance=0.11 accepts")
def label_of_another_spacing(folder):
    write(label_file(folder, "bob"), label_of("bob"), spacing=(0.5, 0.5, 2.2))


@broken(
    1,
    "origin",
    "cyd",
    "origin (0, 3, 4) mm, the image (0, 0, 0)",
    "6 voxels (5 mm) off; too far for a tolerance, use verify.fix",
)
def label_moved(folder):
    write(label_file(folder, "cyd"), label_of("cyd"), origin=(0, 3, 4))


@broken(1, "direction", "ann", "180 degrees: cosines 2 off; too far for a tolerance, use verify.fix")
def label_flipped(folder):
    write(label_file(folder, "ann"), label_of("ann"), direction=np.diag([-1, 1, 1]))


@broken(1, "direction", "ann", "turned by up to 5 degrees", "cosines 0.0872 off; too far for a tolerance")
def label_turned(folder):
    angle = np.deg2rad(5)
    turn = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    write(label_file(folder, "ann"), label_of("ann"), direction=turn)


@broken(1, "direction", "ann", "180 degrees: cosines 2 off", tolerance=6.0)
def label_flipped_under_a_wide_tolerance(folder):
    label_flipped(folder)


@broken(1, "direction", "ann", "turned by up to 2 degrees", "0.0349 off; verify.tolerance=0.035 accepts")
def label_turned_a_little(folder):
    angle = np.deg2rad(2)
    turn = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    write(label_file(folder, "ann"), label_of("ann"), direction=turn)


@broken(0, None, tolerance=0.035)
def label_turned_a_little_and_accepted(folder):
    label_turned_a_little(folder)


@broken(0, None)
def label_moved_within_tolerance(folder):
    write(label_file(folder, "bob"), label_of("bob"), origin=(0.0004, 0, 0))


@broken(0, None, tolerance=6.0)
def label_moved_within_a_tolerance_of_ones_own(folder):
    write(label_file(folder, "cyd"), label_of("cyd"), origin=(0, 3, 4))


@broken(1, "axes", "bob", "label map: a 3D file, the image a 2D one")
def plane_image_and_volume_label(folder):
    for case in CASES:
        write(image_file(folder, case), image_of(case)[0], SPACING[:2], (0.0, 0.0))
        write(label_file(folder, case), label_of(case)[1], SPACING[:2], (0.0, 0.0))
    write(label_file(folder, "bob"), label_of("bob")[1:2])


@broken(1, "shape", "bob", "channel 1 (T2): 4 x 5 x 5 voxels")
def second_channel_of_another_shape(folder):
    make_two_channels(folder)
    write(image_file(folder, "bob", 1), np.ones((4, 5, 5), np.int16))


@broken(1, "spacing", "bob", "channel 1 (T2): spacing 2 x 0.5 x 0.6 mm", "0.2 voxels (0.1 mm) off")
def second_channel_of_another_spacing(folder):
    make_two_channels(folder)
    write(image_file(folder, "bob", 1), image_of("bob"), spacing=(0.6, 0.5, 2))


@broken(1, "origin", "bob", "channel 1 (T2): origin (1, 0, 0) mm", "2 voxels (1 mm) off")
def second_channel_moved(folder):
    make_two_channels(folder)
    write(image_file(folder, "bob", 1), image_of("bob"), origin=(1, 0, 0))


@broken(0, None)
def two_channels(folder):
    make_two_channels(folder)


# --- voxels --------------------------------------------------------------------------------------------------------


@broken(1, "not-finite", "ann", "channel 0 (CT): 2 voxels are NaN or infinite, the first at (1, 2, 3)")
def nan_voxels(folder):
    write(image_file(folder, "ann"), changed(image_of("ann"), float("nan"), (1, 2, 3), (3, 0, 0)))


@broken(1, "not-finite", "ann", "1 voxel is NaN or infinite, the first at (0, 0, 5)")
def infinite_voxel(folder):
    write(image_file(folder, "ann"), changed(image_of("ann"), float("-inf"), (0, 0, 5)))


@broken(1, "not-finite", "bob", "channel 1 (T2): 1 voxel is NaN")
def nan_in_the_second_channel(folder):
    make_two_channels(folder)
    write(image_file(folder, "bob", 1), changed(image_of("bob"), float("nan"), (0, 0, 0)))


@broken(1, "not-finite", "ann", "channel 1 (late): 1 voxel is NaN or infinite, the first at (1, 2, 3)")
def nan_in_the_second_volume(folder):
    describe(folder, channel_names={"0": "early", "1": "late"})
    for case in CASES:
        write(image_file(folder, case), np.stack([image_of(case), image_of(case)]))
    volumes = changed(np.stack([image_of("ann"), image_of("ann")]), float("nan"), (1, 1, 2, 3))
    write(image_file(folder, "ann"), volumes)


# --- labels --------------------------------------------------------------------------------------------------------


@broken(1, "label-values", "bob", "value 7 in 1 voxel; declared are 0, 1, 2")
def one_foreign_value(folder):
    write(label_file(folder, "bob"), changed(label_of("bob"), 7, (0, 0, 0)))


@broken(1, "label-values", "cyd", "values 2, 3, 4, 5, 6 and 1 more in 6 voxels; declared are 0, 1")
def many_foreign_values(folder):
    describe(folder, labels={"background": 0, "liver": 1})
    for case in CASES:
        write(label_file(folder, case), np.minimum(label_of(case), 1))
    array = np.minimum(label_of("cyd"), 1)
    array[0, 0, :] = range(2, 8)
    write(label_file(folder, "cyd"), array)


@broken(1, "label-values", "ann", "value 255 in 3 voxels; declared are 0, 1; 'task.remap={255:1}' would renumber them")
def masks_of_255(folder):
    describe(folder, labels={"background": 0, "liver": 1})
    for case in CASES:
        write(label_file(folder, case), np.where(label_of(case) > 0, 255, 0).astype(np.uint8))


@broken(1, "label-values", "bob", "values 85, 170 in 3 voxels", "'task.remap={85:1,170:2}' would renumber them")
def labels_stretched_over_the_bytes(folder):
    for case in CASES:
        write(label_file(folder, case), label_of(case) * 85)


@broken(0, None, task={"remap": {85: 1, 170: 2}})
def labels_renumbered_in_reading(folder):
    labels_stretched_over_the_bytes(folder)


@broken(1, "label-values", "cyd", "value 3 in 1 voxel", "if these voxels are not annotated, declare ignore: 3")
def ignored_but_not_declared_so(folder):
    for case in ("bob", "cyd"):
        write(label_file(folder, case), changed(label_of(case), 3, (0, 0, 0)))


@broken(1, "label-values", "bob", "value -1 in 1 voxel")
def negative_value(folder):
    write(label_file(folder, "bob"), changed(label_of("bob"), -1, (0, 0, 0)))


@broken(1, "not-integer", "bob", "2 voxels are no whole number, such as 0.5")
def fractions(folder):
    write(label_file(folder, "bob"), changed(label_of("bob"), 0.5, (0, 0, 0), (0, 0, 1)))


@broken(1, "not-finite", "bob", "label map: 1 voxel is NaN or infinite, the first at (0, 0, 0)")
def nan_in_a_label_map(folder):
    write(label_file(folder, "bob"), changed(label_of("bob"), float("nan"), (0, 0, 0)))


@broken(1, "not-integer", "bob", "60 voxels are no whole number, such as 0.5")
def fractions_and_background(folder):
    write(label_file(folder, "bob"), changed(np.zeros(SHAPE), 0.5, slice(2)))


@broken(0, None)
def whole_numbers_as_floats(folder):
    write(label_file(folder, "bob"), label_of("bob").astype(np.float64))


@broken(1, "label-channels", "cyd", "the label map has 3 channels, 1 is allowed")
def one_hot_label(folder):
    write(label_file(folder, "cyd"), np.stack([label_of("cyd") == value for value in range(3)]).astype(np.uint8))


@broken(0, "empty-label", "ann", "nothing but background")
def empty_label(folder):
    write(label_file(folder, "ann"), np.zeros(SHAPE, np.uint8))


@broken(0, "empty-label", "ann", "nothing but background and ignore")
def label_that_says_nothing(folder):
    describe(folder, labels={"background": 0, "liver": 1, "tumor": 2, "ignore": 3})
    write(label_file(folder, "ann"), changed(np.zeros(SHAPE), 3, (0, 0)))


@broken(0, None)
def regions_and_ignore(folder):
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    describe(folder, labels=labels, regions_class_order=[1, 2])
    write(label_file(folder, "ann"), changed(label_of("ann"), 3, (0, 0)))


# --- channels and files --------------------------------------------------------------------------------------------


@broken(1, "4d", "bob", "the image is 4D, 2 volumes in one file, and 1 channel is declared")
def image_of_two_times(folder):
    write(image_file(folder, "bob"), np.stack([image_of("bob")] * 2))


@broken(1, "channels", "ann", "3 channels in 1 file, 1 declared")
def color_where_grey_is_declared(folder):
    make_natural(folder, components=3, channels=1)


@broken(1, "channels", "ann", "4 channels in 1 file, 3 declared")
def alpha_that_varies(folder):
    make_natural(folder, components=4)


@broken(0, "alpha", "an alpha channel of one value is left out")
def alpha_that_says_nothing(folder):
    make_natural(folder, components=4, last=255)


@broken(0, None)
def color(folder):
    make_natural(folder, components=3)


@broken(1, "shape", "cyd", "label map: 1 x 4 x 6 voxels (z, y, x), the image 1 x 5 x 6")
def natural_label_of_another_shape(folder):
    make_natural(folder, components=3)
    sitk.WriteImage(sitk.GetImageFromArray(label_of("cyd")[1, :4]), str(label_file(folder, "cyd", ".png")))


@broken(1, "missing", "bob", "label map: there is no file bob.nii.gz")
def no_label(folder):
    label_file(folder, "bob").unlink()


@broken(1, "missing", "bob", "label map: there is no file bob.nii.gz")
def dangling_link(folder):
    label_file(folder, "bob").unlink()
    label_file(folder, "bob").symlink_to("/nowhere/bob.nii.gz")


@broken(1, "unreadable", "bob", "label map bob.nii.gz: this is no regular file")
def pipe_for_a_label_map(folder):
    label_file(folder, "bob").unlink()
    os.mkfifo(label_file(folder, "bob"))


@broken(1, "unreadable", "bob", "label map bob.nii.gz: this is no regular file")
def device_for_a_label_map(folder):
    label_file(folder, "bob").unlink()
    label_file(folder, "bob").symlink_to("/dev/zero")


@broken(1, "missing", "cyd", "channel 1: there is no file cyd_0001.nii.gz")
def no_second_channel(folder):
    make_two_channels(folder)
    image_file(folder, "cyd", 1).unlink()


@broken(1, "unreadable", "ann", "image ann_0000.nii.gz: ")
def truncated_image(folder):
    path = image_file(folder, "ann")
    path.write_bytes(path.read_bytes()[:-40])


@broken(1, "unreadable", "ann", "label map ann.nii.gz: ")
def truncated_label(folder):
    path = label_file(folder, "ann")
    path.write_bytes(path.read_bytes()[:60])


@broken(1, "unreadable", "ann", "image ann_0000.nii.gz: ")
def empty_file(folder):
    image_file(folder, "ann").write_bytes(b"")


@broken(1, "unreadable", "bob", "label map bob.nii.gz: ")
def text_for_an_image(folder):
    label_file(folder, "bob").write_text("version https://git-lfs.github.com/spec/v1\n")


@broken(1, "unreadable", "bob", "image bob_0000.nii.gz: ")
def other_format_under_the_name(folder):
    write(folder / "other.mha", image_of("bob"))
    (folder / "other.mha").rename(image_file(folder, "bob"))


@broken(1, "unreadable", "cyd", "image cyd_0000.nii.gz: ", "real numbers")
def complex_numbers(folder):
    write(image_file(folder, "cyd"), image_of("cyd").astype(np.complex64))


@broken(1, "unreadable", "bob", "label map bob.nii.gz: ")
def folder_for_a_file(folder):
    label_file(folder, "bob").unlink()
    label_file(folder, "bob").mkdir()


@broken(1, "unreadable", "cyd", "channel 0 cyd_0000.nii.gz: ")
def first_channel_unreadable(folder):
    make_two_channels(folder)
    image_file(folder, "cyd", 0).write_bytes(b"")


# --- several cases, and the dataset --------------------------------------------------------------------------------


@broken(1, "conflict", "cyd", "the same image as case ann, with another label map")
def one_image_and_two_label_maps(folder):
    write(image_file(folder, "cyd"), image_of("ann"))


@broken(0, "duplicate", "cyd", "the same image and label map as case ann")
def one_case_twice(folder):
    write(image_file(folder, "cyd"), image_of("ann"))
    write(label_file(folder, "cyd"), label_of("ann"))


@broken(0, "odd-spacing", "ann", "implausible spacing of 60 x 60 x 60; is it in mm?")
def spacing_in_another_unit(folder):
    for path, array in ((image_file, image_of), (label_file, label_of)):
        write(path(folder, "ann"), array("ann"), spacing=(60, 60, 60))


@broken(0, "odd-spacing", "ann", "implausible spacing of 40 x 0.1 x 0.1")
def pancakes(folder):
    for path, array in ((image_file, image_of), (label_file, label_of)):
        write(path(folder, "ann"), array("ann"), spacing=(0.1, 0.1, 40))


@broken(0, None)
def nominal_spacing(folder):
    for path, array in ((image_file, image_of), (label_file, label_of)):
        write(path(folder, "ann"), array("ann"), spacing=(1, 1, 1))


@broken(0, "count", "numTraining is 30, 3 cases are there")
def another_number_of_cases(folder):
    describe(folder, numTraining=30)


@broken(0, "orphan", "dan.nii.gz", "a label map that belongs to no image")
def label_without_image(folder):
    write(label_file(folder, "dan"), label_of("ann"))


@broken(0, None)
def label_that_a_list_leaves_out(folder):
    listed = {case: {"images": [f"imagesTr/{case}_0000.nii.gz"], "label": f"labelsTr/{case}.nii.gz"} for case in CASES}
    describe(folder, dataset=listed)
    write(label_file(folder, "dan"), label_of("ann"))


@broken(0, None)
def faultless(folder):
    pass


@pytest.mark.parametrize("name", BROKEN)
def test_each_gets_its_verdict(name, tmp_path, caplog):
    function, status, kind, fragments, options = BROKEN[name]
    folder = make(tmp_path / "data" / "Tiny")
    function(folder)
    found, last, rows, report = verdict(folder, tmp_path / "out", caplog, **options)
    assert found == status, rows
    kinds = {fault["kind"] for fault in report["faults"]}
    assert kinds == ({kind} if kind else set())
    severity = "error" if status else "warning"
    assert all(fault["severity"] == severity for fault in report["faults"])
    if kind:
        said = [row for row in rows if all(fragment in row for fragment in (severity, kind, *fragments))]
        assert said, rows
        assert all("\n" not in row and (len(row) <= 150 or kind == "unreadable") for row in rows if severity in row)
    assert str(tmp_path / "out" / "Tiny" / "verification.json") in last


def test_a_folder_without_dicom_is_told_once(tmp_path, caplog):
    folder = make(tmp_path / "Tiny")
    folder_for_a_file(folder)
    status, _, rows, _ = verdict(folder, tmp_path / "out", caplog)
    assert status == 1
    assert not [row for row in rows if "content hash" in row or "Is a directory" in row]


def test_there_are_at_least_thirty():
    assert sum(status == 1 for _, status, *_ in BROKEN.values()) >= 30


def test_all_faults_of_all_cases_are_told_at_once(tmp_path, caplog):
    folder = make(tmp_path / "Tiny")
    write(image_file(folder, "ann"), changed(image_of("ann"), float("nan"), (0, 0, 0)))
    write(label_file(folder, "ann"), changed(label_of("ann"), 9, (0, 0, 0)), spacing=(1, 1, 1), origin=(9, 9, 9))
    empty_file_of_bob = image_file(folder, "bob")
    empty_file_of_bob.write_bytes(b"")
    write(label_file(folder, "bob"), changed(label_of("bob"), 8, (0, 0, 0)))
    status, last, _, report = verdict(folder, tmp_path / "out", caplog)
    found = {(fault["case"], fault["kind"]) for fault in report["faults"]}
    assert found == {
        ("ann", "not-finite"),
        ("ann", "spacing"),
        ("ann", "origin"),
        ("ann", "label-values"),
        ("bob", "unreadable"),
        ("bob", "label-values"),
    }
    assert status == 1
    assert "3 cases: 6 errors in 2 cases, no warning" in last
    assert report["counts"] == {"cases": 3, "errors": 6, "warnings": 0, "cases_with_errors": 2}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(CASES), faults=st.lists(st.sampled_from([0, 1, 2]), min_size=3, max_size=3))
def test_which_case_has_which_fault_makes_no_difference(tmp_path_factory, caplog, order, faults):
    folder = make(tmp_path_factory.mktemp("faults") / "Tiny")
    kinds = ("origin", "label-values", "not-finite")
    for case, fault in zip(order, faults, strict=True):
        if fault == 0:
            write(label_file(folder, case), label_of(case), origin=(0, 3, 4))
        elif fault == 1:
            write(label_file(folder, case), changed(label_of(case), 9, (0, 0, 0)))
        else:
            write(image_file(folder, case), changed(image_of(case), float("inf"), (0, 0, 0)))
    _, _, _, report = verdict(folder, folder.parent / "out", caplog)
    found = {(fault["case"], fault["kind"]) for fault in report["faults"]}
    assert found == {(case, kinds[fault]) for case, fault in zip(order, faults, strict=True)}


@pytest.mark.parametrize(("breaking", "status"), [(label_moved, 1), (empty_label, 0)])
def test_as_a_command(breaking, status, tmp_path):
    folder = make(tmp_path / "data" / "Tiny")
    breaking(folder)
    command = ["verify", "task.name=Tiny", f"data_root={tmp_path / 'data'}", f"output_root={tmp_path / 'out'}"]
    done = subprocess.run([sys.executable, "-m", "segfw", *command], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    report = json.loads((tmp_path / "out" / "Tiny" / "verification.json").read_text())
    assert len(report["faults"]) == 1
    assert report["faults"][0]["case"] in done.stdout
    if status:
        assert "3 cases: 1 error in 1 case" in done.stderr
