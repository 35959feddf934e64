"""Cases at once: who waits for whom, what is held, what becomes of failures and of an interruption."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import SimpleITK as sitk

from segfw.core.errors import JobError
from segfw.inference.predictor import Prediction
from segfw.stages.prediction import flow as prediction_flow
from segfw.stages.prediction.claims import CaseList, Nothing
from segfw.stages.prediction.flow import segment_cases
from segfw.stages.prediction.outputs import PredictionCase

PATIENCE = 20.0


class Steps:
    """Stands in for a model: a case is the number that its first voxel holds."""

    bundle = None  # of which only DICOM-SEG tells

    def __init__(self):
        self.begun = {}
        self.sizes = {}
        self.told = []
        self.held = self.most_held = 0

    def event(self, step, number):
        return self.begun.setdefault((step, number), threading.Event())

    def await_step(self, step, number):
        assert self.event(step, number).wait(PATIENCE), f"{step} of case {number} was not begun"

    def prepare(self, volume):
        number = int(volume.array[0, 0, 0, 0])
        self.held += 1
        self.most_held = max(self.most_held, self.held)
        self.event("prepare", number).set()
        return number

    def tell_padding(self, volume, case):
        self.told.append(case)

    def relative_size(self, number):
        return self.sizes.get(number, 1.0)

    def compute(self, number):
        self.event("compute", number).set()
        return number

    def restore(self, number, probabilities_file=None):
        self.event("restore", number).set()
        self.held -= 1
        return Prediction(np.full((1, 2, 2), number, np.uint8))


def numbered_cases(folder, count):
    cases = []
    for number in range(count):
        path = folder / f"image{number}.mha"
        sitk.WriteImage(sitk.GetImageFromArray(np.full((1, 2, 2), number, np.float32)), str(path))
        cases.append(PredictionCase(f"case{number}", (path,), folder / f"case{number}.mha"))
    return cases


def segment(steps, cases):
    listed, outcomes = CaseList(cases), []

    def tell(outcome):
        outcomes.append(outcome)
        listed.give_back(outcome.name)

    segment_cases(steps, listed.take, tell)
    return outcomes


def test_every_case_is_written(tmp_path):
    cases, steps = numbered_cases(tmp_path, 5), Steps()
    outcomes = segment(steps, cases)
    assert [outcome.name for outcome in outcomes] == [case.name for case in cases] == steps.told
    assert not any(outcome.failure for outcome in outcomes)
    for number, case in enumerate(cases):
        assert (sitk.GetArrayFromImage(sitk.ReadImage(str(case.target))) == number).all()
    assert not list(tmp_path.glob(".*"))


def test_an_immense_case_is_named_before_it_is_computed(tmp_path, caplog):
    steps = Steps()
    steps.sizes = {1: 19.9, 2: 250.2}
    segment(steps, numbered_cases(tmp_path, 3))
    assert [record.getMessage().split(" the voxels")[0] for record in caplog.records] == [
        "case2: resampled to the model's spacing it has 250 times"
    ]


def test_the_next_is_read_and_the_last_restored_while_one_is_computed(tmp_path):
    class Waiting(Steps):
        def compute(self, number):
            if number < 4:
                self.await_step("prepare", number + 1)
            if number > 0:
                self.await_step("restore", number - 1)
            return super().compute(number)

        def restore(self, number, probabilities_file=None):
            self.event("restore", number).set()
            if number < 4:
                self.await_step("compute", number + 1)
            return super().restore(number)

    steps = Waiting()
    assert len(segment(steps, numbered_cases(tmp_path, 5))) == 5
    assert steps.most_held == 3


@pytest.mark.parametrize("slow", ["prepare", "compute", "restore"])
def test_no_more_than_three_cases_are_held_whatever_is_slow(tmp_path, slow):
    class Slow(Steps):
        def wait(self, step):
            if step == slow:
                time.sleep(0.05)  # the others would run ahead, if nothing held them

        def prepare(self, volume):
            number = super().prepare(volume)
            self.wait("prepare")
            return number

        def compute(self, number):
            self.wait("compute")
            return super().compute(number)

        def restore(self, number, probabilities_file=None):
            self.wait("restore")
            return super().restore(number)

    steps = Slow()
    assert len(segment(steps, numbered_cases(tmp_path, 8))) == 8
    assert steps.most_held <= 3


@pytest.mark.parametrize("step", ["prepare", "compute", "restore"])
def test_a_failure_has_its_case_and_the_others_go_on(tmp_path, step):
    class Failing(Steps):
        def fail(self, at, number):
            if at == step and number == 1:
                raise JobError("the image is bad")
            if at == step and number == 3:
                raise RuntimeError("nobody foresaw this\nat all")

        def prepare(self, volume):
            self.fail("prepare", int(volume.array.max()))
            return super().prepare(volume)

        def compute(self, number):
            self.fail("compute", number)
            return super().compute(number)

        def restore(self, number, probabilities_file=None):
            self.fail("restore", number)
            return super().restore(number)

    cases = numbered_cases(tmp_path, 5)
    outcomes = {outcome.name: outcome for outcome in segment(Failing(), cases)}
    assert {name: outcome.failure for name, outcome in outcomes.items() if outcome.failure} == {
        "case1": "the image is bad",
        "case3": "unexpected RuntimeError: nobody foresaw this",
    }
    assert "in fail" in outcomes["case3"].trace
    assert [case.target.exists() for case in cases] == [True, False, True, False, True]


def test_a_case_that_cannot_be_read_has_failed(tmp_path):
    first, second = numbered_cases(tmp_path, 2)
    first.images[0].write_bytes(b"no image")
    outcomes = {outcome.name: outcome.failure for outcome in segment(Steps(), [first, second])}
    assert str(first.images[0]) in outcomes["case0"]
    assert outcomes["case1"] == ""


def test_what_was_claimed_by_another_in_the_meantime_is_not_written(tmp_path):
    (case,) = numbered_cases(tmp_path, 1)

    class Losing(Steps):
        def restore(self, number, probabilities_file=None):
            (tmp_path / ".case0.mha.lock").write_text('{"token": "another", "pid": 1, "host": "h"}')
            return super().restore(number)

    (outcome,) = segment(Losing(), [case])
    assert "lost the lock" in outcome.failure
    assert not case.target.exists()


def test_cases_of_others_are_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(prediction_flow, "PAUSE", 0.01)
    given = iter([Nothing.YET, Nothing.YET, Nothing.LEFT])
    segment_cases(Steps(), lambda: next(given), lambda outcome: None)
    assert list(given) == []


def test_an_interruption_ends_the_work(tmp_path):
    class Interrupted(Steps):
        def compute(self, number):
            if number == 1:
                self.await_step("restore", 0)
                raise KeyboardInterrupt
            return super().compute(number)

        def restore(self, number, probabilities_file=None):
            prediction = super().restore(number)
            assert interrupted.wait(PATIENCE)
            return prediction

    interrupted, told = threading.Event(), []
    cases = numbered_cases(tmp_path, 3)
    listed = CaseList(cases)
    with pytest.raises(KeyboardInterrupt):
        segment_cases(Interrupted(), listed.take, told.append)
    listed.close()
    interrupted.set()
    for thread in threading.enumerate():
        if thread.name == "prediction":
            thread.join(PATIENCE)
    assert not told
    assert not any(case.target.exists() for case in cases)
    assert not list(tmp_path.glob(".*"))


STUCK = """
import sys, time
from pathlib import Path
from segfw.stages.prediction import flow as prediction_flow
from segfw.stages.prediction.claims import CaseList
from segfw.stages.prediction.outputs import PredictionCase
class Steps:
    def prepare(self, volume):
        print("begun", flush=True)
        time.sleep(60)
listed = CaseList([PredictionCase("case0", (Path(sys.argv[1]) / "image0.mha",), Path(sys.argv[1]) / "case0.mha")])
try:
    prediction_flow.segment_cases(Steps(), listed.take, print)
finally:
    listed.close()
"""


def test_a_step_that_does_not_end_does_not_keep_the_program(tmp_path):
    numbered_cases(tmp_path, 1)
    command = [sys.executable, "-c", STUCK, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=os.getcwd())
    assert process.stdout.readline() == b"begun\n"
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    assert time.monotonic() - begun < PATIENCE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image0.mha"]
