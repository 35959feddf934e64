"""The verb: what it says, what it does again, and how it ends."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import fsspec
import numpy as np
import pytest
import SimpleITK as sitk

from scripts.benchmarks.census import COUNTS, take_census
from segfw.core.errors import JobError, UsageError
from segfw.core.settings.verbs import InferenceOverrides, PredictSettings
from segfw.core.support.addresses import mirror_path
from segfw.stages.prediction import predict
from segfw.training.devices import choose_device
from tests.stages.tiny_cases import save_images, save_tiny_model

THREE = [f"c{number}" for number in range(3)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model", slice(0, 2))


@pytest.fixture
def settings(model, tmp_path):
    save_images(tmp_path / "in", THREE)

    def given(**changes):
        places = {"model": str(model), "input": str(tmp_path / "in"), "output": str(tmp_path / "out")}
        return PredictSettings(**{**places, "accelerator": "cpu", "threads": 1, **changes})

    return given


def said(caplog):
    return [record.getMessage() for record in caplog.records]


def stamps(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_what_will_be_done_is_said_and_what_was_is_summed_up(settings, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        predict.run(settings(inference=InferenceOverrides(step_size=0.7)))
    first, need, *cases, last = said(caplog)
    assert first == (
        "predict: 3 cases, 3 to do, 0 skipped as done; Dataset 3d_fullres (folds 0, full), mirrored along axes "
        f"0, 1, 2, step 0.7; on {choose_device('cpu', threads=1).description}"
    )
    assert need.startswith("predicting an image of median size (9 x 10 x 8 voxels) takes about ")
    assert [line.split(" (")[0] for line in cases] == [
        f"{i + 1}/3 c{i}: {tmp_path / 'out' / f'c{i}.nii.gz'}" for i in range(3)
    ]
    assert last.startswith("predict: 3 done, 0 skipped, 0 failed in ")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{name}.nii.gz" for name in THREE]


def test_a_second_command_does_what_is_missing(settings, tmp_path, caplog):
    predict.run(settings())
    before = stamps(tmp_path / "out")
    with caplog.at_level(logging.INFO):
        predict.run(settings())
    assert stamps(tmp_path / "out") == before
    assert said(caplog)[-1].startswith("predict: 0 done, 3 skipped, 0 failed")
    (tmp_path / "out" / "c1.nii.gz").unlink()
    predict.run(settings())
    after = stamps(tmp_path / "out")
    assert {name for name in after if after[name] != before[name]} == {"c1.nii.gz"}
    predict.run(settings(overwrite=True))
    assert not set(stamps(tmp_path / "out").items()) & set(after.items())


def test_a_map_that_is_asked_for_later_is_made(settings, tmp_path):
    predict.run(settings())
    predict.run(settings(inference=InferenceOverrides(uncertainty=True)))
    assert len(list((tmp_path / "out").glob("c?_uncertainty.nii.gz"))) == 3
    (tmp_path / "out" / "c2_uncertainty.nii.gz").unlink()
    before = stamps(tmp_path / "out")
    predict.run(settings(inference=InferenceOverrides(uncertainty=True)))
    after = stamps(tmp_path / "out")
    assert {name for name in after if after[name] != before.get(name)} == {"c2.nii.gz", "c2_uncertainty.nii.gz"}


def test_bad_cases_are_listed_and_the_rest_is_done(settings, tmp_path, caplog):
    (tmp_path / "in" / "c0_0000.nii.gz").write_bytes(b"no image")
    shutil.copy(tmp_path / "in" / "c1_0000.nii.gz", tmp_path / "in" / "single.nii.gz")
    with caplog.at_level(logging.INFO), pytest.raises(JobError) as raised:
        predict.run(settings())
    assert "2 of 4 cases failed, the others are done:\n  c0: cannot read" in str(raised.value)
    assert "\n  single: the model takes 2 channels ['T1', 'mask'], got 1" in str(raised.value)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["c1.nii.gz", "c2.nii.gz"]
    assert said(caplog)[-1].startswith("predict: 2 done, 0 skipped, 2 failed")


def test_several_devices_give_the_same(settings, tmp_path):
    predict.run(settings(output=str(tmp_path / "one")))
    predict.run(settings(output=str(tmp_path / "two"), devices=(0, 1)))
    for name in THREE:
        one, two = (
            sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f / f"{name}.nii.gz"))) for f in ("one", "two")
        )
        assert one.any()
        assert np.array_equal(one, two)


def test_a_table_of_cases(settings, tmp_path):
    rows = ["case,T1,channel_1", "x,in/c0_0000.nii.gz,in/c1_0001.nii.gz", "y,in/c1_0000.nii.gz,in/none.nii.gz"]
    (tmp_path / "cases.csv").write_text("\n".join(rows))
    with pytest.raises(JobError, match=r"1 of 2 cases failed, .*\n  y: cannot read .*none\.nii\.gz: there is no such"):
        predict.run(settings(input=str(tmp_path / "cases.csv")))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x.nii.gz"]


def test_images_at_addresses(settings, tmp_path):
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    store.put(str(tmp_path / "in"), "/bucket/in", recursive=True)
    cache = str(tmp_path / "cache")
    rows = [
        "case,T1,channel_1",
        "c0,memory://bucket/in/c0_0000.nii.gz,in/c0_0001.nii.gz",
        "no,memory://b/no.nii.gz,in/c0",
    ]
    store.pipe("/bucket/cases.csv", "\n".join(rows).encode())
    predict.run(settings(output=str(tmp_path / "local")))
    predict.run(settings(input=str(mirror_path("memory://bucket/in", cache)), data_cache=cache))
    table = str(mirror_path("memory://bucket/cases.csv", cache))
    with pytest.raises(JobError, match=r"1 of 2 cases failed, .*\n  no: there is nothing at memory://b/no.nii.gz"):
        predict.run(settings(input=table, data_cache=cache, output=str(tmp_path / "listed")))
    for name in THREE:
        assert (tmp_path / f"out/{name}.nii.gz").read_bytes() == (tmp_path / f"local/{name}.nii.gz").read_bytes()
    assert (tmp_path / "listed/c0.nii.gz").read_bytes() == (tmp_path / "local/c0.nii.gz").read_bytes()
    store.store.clear()


def test_nothing_is_done_before_a_mistake_is_seen(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "segment_cases", None)
    with pytest.raises(UsageError, match="predict needs model="):
        predict.run(settings(output=None))
    with pytest.raises(UsageError, match=r"a\.nii\.gz is a file, but input=.* is a folder"):
        predict.run(settings(output=str(tmp_path / "a.nii.gz")))
    with pytest.raises(UsageError, match="the images' own folder"):
        predict.run(settings(output=str(tmp_path / "in")))
    assert not (tmp_path / "out").exists()


def test_a_failure_frees_every_claim(settings, tmp_path, monkeypatch):
    def fail(predictor, take, tell):
        take()
        assert len(list((tmp_path / "out").iterdir())) == 1
        raise MemoryError

    monkeypatch.setattr(predict, "segment_cases", fail)
    with pytest.raises(MemoryError):
        predict.run(settings())
    assert not list((tmp_path / "out").iterdir())


def test_another_command_on_the_same_folder_takes_other_cases(settings, tmp_path, monkeypatch, caplog):
    def by_another(predictor, take, tell):
        predict.run(settings())  # while this one has claimed nothing
        before = stamps(tmp_path / "out")
        original(predictor, take, tell)
        assert stamps(tmp_path / "out") == before

    original = predict.segment_cases
    monkeypatch.setattr(predict, "segment_cases", lambda *args: (monkeypatch.undo(), by_another(*args)))
    with caplog.at_level(logging.INFO):
        predict.run(settings())
    assert said(caplog)[-1].startswith("predict: 0 done, 3 skipped, 0 failed")


@pytest.mark.parametrize("devices", [1, 2])
def test_ctrl_c_leaves_nothing_half_done(model, tmp_path, devices):
    names = [f"c{number:02}" for number in range(60)]
    save_images(tmp_path / "in", names)
    output = tmp_path / "out"
    keys = [f"model={model}", f"input={tmp_path / 'in'}", f"output={output}", "accelerator=cpu", f"devices={devices}"]
    command = [sys.executable, "-m", "segfw", "predict", *keys, f"hydra.run.dir={tmp_path / 'log'}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8")
    deadline = time.monotonic() + 120
    while not list(output.glob("c*.nii.gz")) and time.monotonic() < deadline:  # not the hidden file that becomes one
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.strip().splitlines()[-1] == "segfw: interrupted"
    assert 0 < len(list(output.iterdir())) < len(names)
    assert not list(output.glob(".*"))


def settled_census():
    """Take a census of Python's own threads, those of the work ended: the system counts a thread a moment longer."""
    for thread in threading.enumerate():
        if thread.name.startswith(("prediction", "lock ")):
            thread.join(10)
    return replace(take_census(os.getpid()), threads=threading.active_count())


def test_thirty_cases_hold_no_more_than_three(settings, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    quick = InferenceOverrides(step_size=1.0, mirror=False)
    predict.run(settings(inference=quick))
    before = settled_census()
    save_images(tmp_path / "in", [f"d{number}" for number in range(30)])
    predict.run(settings(inference=quick))
    after = settled_census()
    assert {name: getattr(after, name) for name in COUNTS} == {name: getattr(before, name) for name in COUNTS}
    assert after.memory - before.memory < 30 * 300e3


def test_other_cases_change_no_bit(settings, tmp_path):
    given = InferenceOverrides(step_size=1.0, mirror=False, probabilities=True)
    (tmp_path / "one").mkdir()
    for file in (tmp_path / "in").glob("c2_*"):
        shutil.copy(file, tmp_path / "one" / file.name)
    predict.run(settings(inference=given))
    predict.run(settings(inference=given, input=str(tmp_path / "one"), output=str(tmp_path / "alone")))
    contents = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert len(contents) == 2 * len(THREE)
    alone = {path.name: path.read_bytes() for path in (tmp_path / "alone").iterdir()}
    assert alone == {name: content for name, content in contents.items() if name.startswith("c2")}
    assert len(alone) == 2
