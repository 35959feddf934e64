"""What leaves this machine, and that a tracker that fails is left out while everything else goes on."""

import logging
from pathlib import Path

import numpy as np
import pytest

from segfw.core.errors import JobError, TimeIsOver
from segfw.tracking.fan_out import FanOut, telling
from segfw.tracking.trackers import RunEnd
from tests.tracking.recorder import Recorder

PICTURE = np.zeros((2, 3, 3), np.uint8)
PNG = Path("worst.png")


def tell_everything(fan_out: FanOut) -> None:
    fan_out.scalars({"train/loss": 0.5}, 0)
    fan_out.picture("val/patches", PICTURE, "two patches", 0)
    fan_out.table("val/cases", ["case", "picture"], [["ann", PNG]])
    fan_out.files("plan", "plan", [Path("plan.yaml")])
    fan_out.files("fingerprint", "fingerprint", [PNG])
    fan_out.files("model", "model", [Path("models/main")])


def told(remote: bool, *upload: str) -> list[tuple[object, ...]]:
    recorder = Recorder(remote)
    with telling({"one": lambda: recorder}, upload) as fan_out:
        tell_everything(fan_out)
    assert recorder.told.pop() == ("close", RunEnd.FINISHED)
    return recorder.told


def test_scalars_alone_leave_the_machine_unless_more_is_allowed():
    assert told(True) == [("scalars", {"train/loss": 0.5}, 0)]


@pytest.mark.parametrize(
    ("upload", "more"),
    [
        (("images",), ["picture", "files fingerprint"]),
        (("tables",), ["table"]),
        (("model",), ["files plan", "files model"]),
        (("images", "tables", "model"), ["picture", "table", "files plan", "files fingerprint", "files model"]),
    ],
)
def test_each_word_lets_its_own_kind_go(upload, more):
    names = [f"{call[0]} {call[2]}" if call[0] == "files" else call[0] for call in told(True, *upload)]
    assert names == ["scalars", *more]


def test_a_local_tracker_is_told_everything_whatever_may_be_uploaded():
    assert told(False) == told(True, "images", "tables", "model")


def test_pictures_in_tables_need_both_words():
    assert told(True, "tables")[1] == ("table", "val/cases", ["case", "picture"], [["ann", None]])
    assert told(True, "tables", "images")[2] == ("table", "val/cases", ["case", "picture"], [["ann", PNG]])


def test_what_nobody_may_have_need_not_be_made():
    fan_out = FanOut(["images"])
    assert not fan_out.shows("images")
    fan_out.add("remote", lambda: Recorder(remote=True))
    assert (fan_out.shows("images"), fan_out.shows("tables")) == (True, False)
    fan_out.add("local", Recorder)
    assert fan_out.shows("tables")


class Numbers:
    """A tracker that has no method for more than scalars."""

    remote = False

    def __init__(self) -> None:
        self.told: list[object] = []

    def scalars(self, values, epoch) -> None:
        """Remember an epoch."""
        self.told.append((values, epoch))

    def close(self, end) -> None:
        """Remember the end."""
        self.told.append(end)


def test_a_tracker_is_told_only_what_it_has_a_method_for(caplog):
    numbers, recorder = Numbers(), Recorder()
    with telling({"numbers": lambda: numbers}, ["images"]) as fan_out:
        assert not any((fan_out.shows("images"), fan_out.shows("tables"), fan_out.keeps("model")))
        fan_out.add("recorder", lambda: recorder)
        assert all((fan_out.shows("images"), fan_out.shows("tables"), fan_out.keeps("model")))
        tell_everything(fan_out)
    assert numbers.told == [({"train/loss": 0.5}, 0), RunEnd.FINISHED]
    assert recorder.what() == ["scalars", "picture", "table", "files", "files", "files", "close"]
    assert caplog.messages == []


def test_a_tracker_that_fails_is_named_once_and_left_out(caplog):
    broken, sound = Recorder(fails=("scalars",)), Recorder()
    with telling({"broken": lambda: broken, "sound": lambda: sound}, ()) as fan_out:
        fan_out.scalars({"train/loss": 1.0}, 0)
        fan_out.scalars({"train/loss": 0.5}, 1)
    assert sound.what() == ["scalars", "scalars", "close"]
    assert broken.told == [("close", RunEnd.FAILED)]
    assert [m for m in caplog.messages if "broken fails" in m] == [
        "logger broken fails and is left out from here on, the work goes on: OSError: the disk is full"
    ]


def test_tracebacks_are_for_the_log_file_also_that_of_the_close_that_fails_next(caplog, monkeypatch):
    failures = logging.getLogger("segfw.failures")
    monkeypatch.setattr(failures, "propagate", True)  # which the program's file switches off
    monkeypatch.setattr(failures, "handlers", [])
    with caplog.at_level("INFO"), telling({"broken": lambda: Recorder(fails=("scalars", "close"))}, ()) as fan_out:
        fan_out.scalars({"train/loss": 1.0}, 0)
    kept = [record for record in caplog.records if record.name == "segfw.failures"]
    assert [(record.levelname, record.getMessage()) for record in kept] == [
        ("ERROR", "logger broken"),
        ("ERROR", "logger broken could not be closed either"),
    ]
    assert [type(record.exc_info[1]) for record in kept] == [OSError, OSError]
    assert [record.exc_info for record in caplog.records if record not in kept] == [None]


def test_a_tracker_that_cannot_be_opened_is_left_out(caplog):
    def refuse() -> Recorder:
        raise RuntimeError("no server")

    with telling({"absent": refuse}, ()) as fan_out:
        fan_out.scalars({"train/loss": 1.0}, 0)
    assert "logger absent fails" in caplog.text
    assert "RuntimeError: no server" in caplog.text


def test_one_that_cannot_be_closed_keeps_no_other_open(caplog):
    stuck, sound = Recorder(fails=("close",)), Recorder()
    with telling({"stuck": lambda: stuck, "sound": lambda: sound}, ()):
        pass
    assert sound.told == [("close", RunEnd.FINISHED)]
    assert "logger stuck fails" in caplog.text


@pytest.mark.parametrize(
    ("ending", "end"),
    [
        (KeyboardInterrupt(), RunEnd.KILLED),
        (SystemExit(143), RunEnd.KILLED),
        (TimeIsOver("trainer.max_time is over"), RunEnd.KILLED),
        (JobError("the loss is not finite"), RunEnd.FAILED),
        (ValueError("bad"), RunEnd.FAILED),
    ],
    ids=repr,
)
def test_all_are_closed_with_the_end_that_the_training_has(ending, end):
    trackers = {"one": Recorder(), "two": Recorder()}
    with (
        pytest.raises(type(ending)),
        telling({name: lambda tracker=tracker: tracker for name, tracker in trackers.items()}, ()),
    ):
        raise ending
    assert [tracker.told for tracker in trackers.values()] == [[("close", end)]] * 2


def test_an_interruption_while_one_closes_leaves_none_open():
    interrupted, other = Recorder(fails=("close",), error=KeyboardInterrupt()), Recorder()
    with (
        pytest.raises(KeyboardInterrupt),
        telling({"other": lambda: other, "interrupted": lambda: interrupted}, ()),
    ):
        pass
    assert ("close", RunEnd.FINISHED) in other.told
