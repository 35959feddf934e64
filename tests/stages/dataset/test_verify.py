"""Verification beyond single verdicts: what is kept of it, what the main job does with it, and repaired copies."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segfw.core.errors import DataError, JobError
from segfw.core.planning import fingerprint as core_fingerprint
from segfw.core.settings.schema import ExecutorSettings, SplitSettings
from segfw.io.formats.readers import read_image, read_label
from segfw.stages import fingerprint, pipeline
from segfw.stages.dataset import case_check, verify
from segfw.stages.dataset.raw import find_dataset, scan
from segfw.stages.job import prepare
from segfw.workspace import Workspace
from tests.stages.tiny_dataset import (
    CASES,
    SHAPE,
    describe,
    image_file,
    image_of,
    label_file,
    label_of,
    make,
    settings_of,
    verdict,
    write,
)


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    """Draw few intensities: three tiny cases would otherwise give a hundred million."""
    monkeypatch.setattr(core_fingerprint, "TOTAL_SAMPLES", 3000)


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "data" / "Tiny")


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out"


def record_of(settings):
    dataset = find_dataset(settings.task, Path(settings.data_root))
    return scan(dataset, Workspace(Path(settings.output_root) / settings.task.name))


def count_reads(monkeypatch):
    read = []
    for name in ("read_image", "read_label"):
        original = getattr(case_check, name)
        monkeypatch.setattr(case_check, name, lambda *args, original=original: read.append(args) or original(*args))
    return read


# --- what is kept --------------------------------------------------------------------------------------------------


def test_the_file_tells_what_each_case_holds(folder, output, caplog):
    *_, report = verdict(folder, output, caplog)
    assert list(report) == ["dataset", "counts", "tolerance", "made_from", "faults", "cases"]
    ann = report["cases"]["ann"]
    assert (ann["shape"], ann["spacing"], ann["labels"]) == ([4, 5, 6], [2.0, 0.5, 0.5], {"0": 117, "1": 2, "2": 1})
    assert set(report["cases"]) == set(CASES)


def test_a_dry_run_reads_no_image_and_writes_nothing(folder, output, caplog, monkeypatch):
    read = count_reads(monkeypatch)
    with caplog.at_level(logging.INFO):
        verify.run(replace(settings_of(folder, output, fix="resample"), dry_run=True))
    assert caplog.messages == [
        f"verify: would read 3 cases, and write {output}/Tiny/verification.json, "
        "and copies of what can be repaired (verify.fix=resample)"
    ]
    assert (read, output.exists()) == ([], False)


def test_processes_find_the_same_as_one(folder, output, caplog, tmp_path):
    write(label_file(folder, "bob"), label_of("bob"), origin=(1, 0, 0))
    *_, alone = verdict(folder, output, caplog)
    settings = replace(settings_of(folder, tmp_path / "two"), executor=ExecutorSettings(workers=2))
    with pytest.raises(JobError, match="3 cases: 1 error in 1 case"):
        verify.run(settings)
    assert json.loads((tmp_path / "two" / "Tiny" / "verification.json").read_text()) == alone


def test_every_file_is_read_once(folder, output, monkeypatch):
    read = count_reads(monkeypatch)
    fingerprint.run(prepare(settings_of(folder, output)))
    assert len(read) == 6
    assert (output / "Tiny" / "fingerprint.yaml").exists()
    assert json.loads((output / "Tiny" / "verification.json").read_text())["counts"]["errors"] == 0


def test_folds_by_labels_do_not_read_the_files_once_more(folder, output, monkeypatch):
    settings = replace(
        settings_of(folder, output), stages=("fingerprint",), split=SplitSettings(kind="stratified", num_folds=3)
    )
    read = count_reads(monkeypatch)
    for _ in range(2):
        pipeline.run(settings)
        assert len(read) == 6
    assert len(json.loads((output / "Tiny" / "splits.json").read_text())) == 3


def test_the_main_job_does_nothing_again_until_the_tolerance_or_the_data_change(folder, output, monkeypatch):
    settings = settings_of(folder, output)
    verify.run(settings)
    read = count_reads(monkeypatch)
    assert verify.label_presence(record_of(settings), settings) == dict.fromkeys(CASES, frozenset({1, 2}))
    assert read == []
    stricter = settings_of(folder, output, tolerance=1e-4)
    assert verify.fresh_verification(record_of(stricter), stricter) is None
    write(label_file(folder, "ann"), np.minimum(label_of("ann"), 1))
    found = verify.label_presence(record_of(settings), settings)
    assert found == {"ann": frozenset({1}), "bob": frozenset({1, 2}), "cyd": frozenset({1, 2})}
    assert len(read) == 6


def test_the_verb_checks_anew(folder, output, monkeypatch):
    verify.run(settings_of(folder, output))
    read = count_reads(monkeypatch)
    verify.run(settings_of(folder, output))
    assert len(read) == 6


def test_a_damaged_file_is_made_anew(folder, output):
    settings = settings_of(folder, output)
    verify.run(settings)
    path = output / "Tiny" / "verification.json"
    whole = path.read_text()
    for content in ("{", "[]", '{"dataset": 1}'):
        path.write_text(content)
        assert verify.ensure_verified(record_of(settings), settings).errors == ()
        assert path.read_text() == whole


# --- the main job --------------------------------------------------------------------------------------------------


def test_errors_stop_the_job_before_a_fingerprint_is_made_and_are_remembered(folder, output, caplog, monkeypatch):
    write(label_file(folder, "bob"), label_of("bob"), origin=(1, 0, 0))
    for _ in range(2):
        with pytest.raises(JobError, match="1 error in 1 case"):
            fingerprint.run(prepare(settings_of(folder, output)))
        assert any(row.startswith("bob") and "origin" in row for row in caplog.messages)
        assert not (output / "Tiny" / "fingerprint.yaml").exists()
        caplog.clear()
        read = count_reads(monkeypatch)
    assert read == []


def test_missing_files_are_told_with_all_else(folder, output, caplog):
    label_file(folder, "ann").unlink()
    write(label_file(folder, "bob"), label_of("bob"), origin=(1, 0, 0))
    with pytest.raises(JobError, match="2 errors in 2 cases"):
        prepare(settings_of(folder, output))
    assert any(row.startswith("ann") and "there is no file ann.nii.gz" in row for row in caplog.messages)
    assert any(row.startswith("bob") and "origin" in row for row in caplog.messages)


def test_a_fingerprint_from_before_is_not_used_without_a_verification(folder, output):
    job = prepare(settings_of(folder, output))
    fingerprint.run(job)
    (output / "Tiny" / "verification.json").unlink()
    fingerprint.run(job)
    assert (output / "Tiny" / "verification.json").exists()


def test_python_callers_get_the_errors_too(folder, output):
    write(label_file(folder, "bob"), label_of("bob"), origin=(1, 0, 0))
    dataset = prepare(settings_of(folder, output)).dataset
    with pytest.raises(DataError, match=r"3 cases: 1 error in 1 case, no warning:\n.*\nbob .*origin \(1, 0, 0\)"):
        fingerprint.make_fingerprint(dataset, ExecutorSettings(workers=0), output)


# --- repaired copies -----------------------------------------------------------------------------------------------


def repaired(folder, output, caplog, fix):
    """Run with `fix`, then verify the repaired dataset; return (first message, verdict of the second)."""
    before = {path: path.read_bytes() for path in folder.rglob("*.nii.gz")}
    status, message, rows, _ = verdict(folder, output, caplog, fix=fix)
    assert status == 1
    assert all(path.read_bytes() == content for path, content in before.items())
    task = {"name": "Repaired", "folder": str(folder / f"repaired_{fix}_Tiny.yaml")}
    return message, rows, verdict(folder, output, caplog, task=task)


def test_a_header_is_copied(folder, output, caplog):
    write(
        label_file(folder, "bob"), label_of("bob"), spacing=(1, 1, 1), origin=(1, 0, 0), direction=np.diag([1, -1, -1])
    )
    message, rows, (status, _, _, report) = repaired(folder, output, caplog, "copy_header")
    assert "verify.fix=copy_header repaired 3 of 3 errors in copies" in message
    assert f"task.folder={folder / 'repaired_copy_header_Tiny.yaml'}" in message
    assert sum("; repaired in labelsTr_copy_header/bob.nii.gz" in row for row in rows) == 3
    assert (status, report["faults"]) == (0, [])
    copy = read_label(folder / "labelsTr_copy_header" / "bob.nii.gz")
    assert (copy.array[0] == label_of("bob")).all()
    assert copy.geometry == read_image([image_file(folder, "bob")]).geometry
    assert [path.name for path in (folder / "labelsTr_copy_header").iterdir()] == ["bob.nii.gz"]


def test_a_header_is_not_copied_to_another_shape(folder, output, caplog):
    write(label_file(folder, "ann"), label_of("ann"), origin=(1, 0, 0))
    write(label_file(folder, "bob"), np.ones((4, 5, 7), np.uint8), origin=(1, 0, 0))
    message, rows, (status, _, _, report) = repaired(folder, output, caplog, "copy_header")
    assert "repaired 1 of 3 errors in copies" in message
    assert (
        sum("not repaired: a header cannot be copied to another shape; use verify.fix=resample" in r for r in rows) == 2
    )
    assert status == 1
    assert {(fault["case"], fault["kind"]) for fault in report["faults"]} == {("bob", "shape"), ("bob", "origin")}


def test_a_label_map_is_resampled_where_it_lies(folder, output, caplog):
    # Twice as fine along x and one voxel short in z: voxel (z, y, 2x) of the label is voxel (z + 1, y, x) of the image.
    fine = np.zeros((3, 5, 12), np.uint8)
    fine[1, 2, 4:8] = 2
    write(label_file(folder, "cyd"), fine, spacing=(0.25, 0.5, 2.0), origin=(0, 0, 2))
    message, _, (status, _, _, report) = repaired(folder, output, caplog, "resample")
    assert "repaired 3 of 3 errors in copies" in message
    assert (status, report["faults"]) == (0, [])
    wanted = np.zeros(SHAPE, np.uint8)
    wanted[2, 2, 2:4] = 2
    assert (read_label(folder / "labelsTr_resample" / "cyd.nii.gz").array[0] == wanted).all()


def test_a_further_channel_is_resampled_linearly(folder, output, caplog):
    listed = {
        case: {"images": [f"imagesTr/{case}_{c:04}.nii.gz" for c in range(2)], "label": f"labelsTr/{case}.nii.gz"}
        for case in CASES
    }
    describe(folder, channel_names={"0": "T1", "1": "T2"}, dataset=listed)
    for case in CASES:
        write(image_file(folder, case, 1), image_of(case) + 1)
    ramp = np.broadcast_to(np.arange(6, dtype=np.int16) * 10, SHAPE)
    write(image_file(folder, "ann", 1), ramp, origin=(-0.25, 0, 0))
    _, _, (status, _, _, report) = repaired(folder, output, caplog, "resample")
    assert (status, report["faults"]) == (0, [])
    # Half a voxel to the right in the ramp; the last position lies half a voxel outside, where the border still counts.
    found = read_image([folder / "imagesTr_resample" / "ann_0001.nii.gz"]).array[0, 0, 0]
    assert found[:5].tolist() == [5, 15, 25, 35, 45]


def test_grids_that_do_not_overlap_are_not_resampled(folder, output, caplog):
    write(label_file(folder, "ann"), label_of("ann"), origin=(500, 0, 0))
    status, message, rows, _ = verdict(folder, output, caplog, fix="resample")
    assert status == 1
    assert "repaired 0 of 1 error in copies" in message
    assert any("not repaired: the grids do not overlap in space" in row for row in rows)
    assert not list(folder.glob("*resample*"))


def test_other_errors_remain(folder, output, caplog):
    write(label_file(folder, "ann"), label_of("ann") + 5, origin=(1, 0, 0))
    message, _, (status, _, _, report) = repaired(folder, output, caplog, "copy_header")
    assert "repaired 1 of 2 errors in copies" in message
    assert (status, [fault["kind"] for fault in report["faults"]]) == (1, ["label-values"])


def test_a_copy_that_is_there_is_kept_and_another_file_in_its_place_is_not_replaced(folder, output, caplog):
    write(label_file(folder, "ann"), label_of("ann"), origin=(1, 0, 0))
    verdict(folder, output, caplog, fix="copy_header")
    copy = folder / "labelsTr_copy_header" / "ann.nii.gz"
    before = copy.stat().st_mtime_ns
    _, message, _, _ = verdict(folder, output, caplog, fix="copy_header")
    assert "repaired 1 of 1 error" in message
    assert copy.stat().st_mtime_ns == before
    write(copy, np.zeros(SHAPE, np.uint8))
    content = copy.read_bytes()
    _, message, rows, _ = verdict(folder, output, caplog, fix="copy_header")
    assert "repaired 0 of 1 error" in message
    assert any("is there and holds something else; delete it or move it away" in row for row in rows)
    assert copy.read_bytes() == content


def test_a_folder_that_cannot_be_written_is_named(folder, output, caplog):
    write(label_file(folder, "ann"), label_of("ann"), origin=(1, 0, 0))
    (folder / "labelsTr_copy_header").write_text("in the way")
    status, message, _, _ = verdict(folder, output, caplog, fix="copy_header")
    assert status == 1
    assert "cannot write" in message
    assert "labelsTr" in message


def test_a_linked_folder_is_repaired_beside_the_link(folder, output, caplog, tmp_path):
    write(label_file(folder, "ann"), label_of("ann"), origin=(1, 0, 0))
    link = tmp_path / "linked" / "Tiny"
    link.mkdir(parents=True)
    for path in folder.iterdir():
        (link / path.name).symlink_to(path)
    _, message, _, _ = verdict(link, output, caplog, fix="copy_header")
    assert "repaired 1 of 1 error" in message
    assert (link / "labelsTr_copy_header" / "ann.nii.gz").exists()
    assert not (folder / "labelsTr_copy_header").exists()


def test_the_main_job_repairs_too_and_stops(folder, output):
    write(label_file(folder, "ann"), label_of("ann"), origin=(1, 0, 0))
    with pytest.raises(JobError, match="repaired 1 of 1 error in copies"):
        fingerprint.run(prepare(settings_of(folder, output, fix="copy_header")))
    assert (folder / "repaired_copy_header_Tiny.yaml").exists()


def test_nothing_is_written_where_nothing_is_wrong(folder, output, caplog):
    before = sorted(folder.rglob("*"))
    assert verdict(folder, output, caplog, fix="resample")[0] == 0
    assert sorted(folder.rglob("*")) == before


def test_natural_images_are_not_resampled(folder, output, caplog):
    for path in [*folder.glob("imagesTr/*"), *folder.glob("labelsTr/*")]:
        path.unlink()
    describe(folder, file_ending=".png")
    for case in CASES:
        write(image_file(folder, case, 0, ".png"), image_of(case)[0].astype(np.uint8), (1, 1))
        write(label_file(folder, case, ".png"), label_of(case)[1, :4], (1, 1))
    status, message, rows, _ = verdict(folder, output, caplog, fix="resample")
    assert status == 1
    assert "repaired 0 of 3 errors in copies" in message
    assert any("states no position in space" in row for row in rows)


def test_the_table_is_in_the_log(folder, output, caplog):
    write(label_file(folder, "ann"), np.zeros(SHAPE, np.uint8))
    write(label_file(folder, "bob"), label_of("bob"), origin=(1, 0, 0))
    verdict(folder, output, caplog)
    levels = {record.message.split()[0]: record.levelno for record in caplog.records}
    assert (levels["ann"], levels["bob"]) == (logging.WARNING, logging.ERROR)
