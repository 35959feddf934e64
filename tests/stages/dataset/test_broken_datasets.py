"""Faults that only several cases together show, verdicts on many at once, and the verdict as a command gives it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.stages.dataset.breakage import assert_verdict, breakages, changed
from tests.stages.tiny_dataset import CASES, describe, image_file, image_of, label_file, label_of, make, verdict, write

ROOT = Path(__file__).parents[3]

broken, BREAKAGES = breakages()


@broken(1, "conflict", "cyd", "the same image as case ann, with another label map")
def one_image_and_two_label_maps(folder):
    write(image_file(folder, "cyd"), image_of("ann"))


@broken(0, "duplicate", "cyd", "the same image and label map as case ann")
def one_case_twice(folder):
    write(image_file(folder, "cyd"), image_of("ann"))
    write(label_file(folder, "cyd"), label_of("ann"))


def set_spacing(folder, spacing):
    write(image_file(folder, "ann"), image_of("ann"), spacing)
    write(label_file(folder, "ann"), label_of("ann"), spacing)


@broken(0, "odd-spacing", "ann", "implausible spacing of 60 x 60 x 60; is it in mm?")
def spacing_in_another_unit(folder):
    set_spacing(folder, (60, 60, 60))


@broken(0, "odd-spacing", "ann", "implausible spacing of 40 x 0.1 x 0.1")
def pancakes(folder):
    set_spacing(folder, (0.1, 0.1, 40))


@broken(0, None)
def nominal_spacing(folder):
    set_spacing(folder, (1, 1, 1))


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


@pytest.mark.parametrize("name", BREAKAGES)
def test_each_gets_its_verdict(name, tmp_path, caplog):
    assert_verdict(BREAKAGES[name], tmp_path, caplog)


def test_all_faults_of_all_cases_are_told_at_once(tmp_path, caplog):
    folder = make(tmp_path / "Tiny")
    write(image_file(folder, "ann"), changed(image_of("ann"), float("nan"), (0, 0, 0)))
    write(label_file(folder, "ann"), changed(label_of("ann"), 9, (0, 0, 0)), spacing=(1, 1, 1), origin=(9, 9, 9))
    image_file(folder, "bob").write_bytes(b"")
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


@pytest.mark.parametrize(
    ("label", "status"),
    [(changed(label_of("ann"), 9, (0, 0, 0)), 1), (changed(label_of("ann"), 0, slice(None)), 0)],
    ids=["undeclared value", "nothing but background"],
)
def test_an_error_ends_the_command_with_1_and_a_warning_with_0(label, status, tmp_path):
    folder = make(tmp_path / "data" / "Tiny")
    write(label_file(folder, "ann"), label)
    command = ["verify", "task.name=Tiny", f"data_root={tmp_path / 'data'}", f"output_root={tmp_path / 'out'}"]
    done = subprocess.run([sys.executable, "-m", "segfw", *command], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    report = json.loads((tmp_path / "out" / "Tiny" / "verification.json").read_text())
    assert len(report["faults"]) == 1
    assert report["faults"][0]["case"] in done.stdout
    if status:
        assert "3 cases: 1 error in 1 case" in done.stderr
