"""Signs of life: written seldom, whole, and never at the cost of the training."""

import logging
from pathlib import Path

import pytest

from segfw.core.errors import UsageError
from segfw.training.signs import SignsOfLife, load_progress


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_sign_is_written_every_ten_seconds_and_when_it_is_urgent(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "progress.json"
    signs = SignsOfLife(path, clock)

    def epochs() -> float:
        found = load_progress(path)
        assert found is not None
        return found.epochs_done

    signs.train(0.1, 5, None)
    clock.now = 9.9
    assert not signs.due
    signs.train(0.2, 5, None)
    assert epochs() == 0.1
    signs.train(1.0, 5, 40.0, urgent=True)
    assert epochs() == 1.0
    clock.now = 20.0
    signs.train(1.5, 5, 35.0)
    assert epochs() == 1.5
    assert [file.name for file in tmp_path.iterdir()] == ["progress.json"]


def test_validation_is_told_beside_what_was_trained(tmp_path: Path) -> None:
    signs = SignsOfLife(tmp_path / "progress.json", Clock())
    signs.train(5.0, 5, 0.0, urgent=True)
    signs.validate(0, 4, None)
    found = load_progress(tmp_path / "progress.json")
    assert found is not None
    assert (found.epochs_done, found.cases_done, found.cases, found.seconds_left) == (5.0, 0, 4, None)
    assert found.updated > 0


def test_a_file_that_cannot_be_written_is_said_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    signs = SignsOfLife(tmp_path / "gone" / "progress.json")
    with caplog.at_level(logging.WARNING):
        signs.train(1.0, 5, None, urgent=True)
        signs.train(2.0, 5, None, urgent=True)
    assert len(caplog.messages) == 1
    assert "gone/progress.json cannot be written (No such file" in caplog.messages[0]


def test_no_file_is_no_progress_and_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    assert load_progress(tmp_path / "progress.json") is None
    (tmp_path / "progress.json").write_text('{"epochs_done": 1')
    with pytest.raises(ValueError, match="Expecting"):
        load_progress(tmp_path / "progress.json")
    (tmp_path / "progress.json").write_text('{"epochs_done": "many", "epochs": 2}')
    with pytest.raises(UsageError, match=r"epochs_done must be a number, got 'many'"):
        load_progress(tmp_path / "progress.json")
