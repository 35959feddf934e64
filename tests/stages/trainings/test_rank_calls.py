import threading
import time
from pathlib import Path

import pytest

from segfw.core.errors import JobError
from segfw.core.support.ranks import Ranks
from segfw.stages.trainings import rank_calls, rank_watch
from segfw.stages.trainings.fold_files import CaseFiles, FoldFiles
from segfw.stages.trainings.rank_calls import SESSION, Call, call_ranks, calls, leading, session_folder, watching_others
from segfw.workspace import Workspace

FIRST, SECOND = Ranks(0, 2, launch="l"), Ranks(1, 2, launch="l")
FILES = FoldFiles({"a": CaseFiles(None, "a.nii")}, {255: 1}, "lock", "token")
STALE = '{"token": "old", "beat": 9, "end": "done"}'


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_watch, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(rank_calls, "LOOK_SECONDS", 0.005)
    monkeypatch.setattr(rank_calls, "SILENCE", 1.0)


def test_others_are_called_whatever_an_earlier_launch_has_left(tmp_path: Path) -> None:
    folder = session_folder(Workspace(tmp_path), FIRST)
    folder.mkdir(parents=True)
    (folder / SESSION).write_text(STALE)
    heard: list[Call] = []
    follower = threading.Thread(target=lambda: heard.extend(calls(folder, SECOND)))
    follower.start()
    wanted = [Call("run0", FILES, 60.0, "host", 1), Call("run1", FILES, 60.0, "host", 2)]
    with leading(folder, FIRST):
        for call in wanted:
            call_ranks(folder, call)
    follower.join(10)
    assert heard == wanted
    assert not folder.exists()


def test_the_failure_of_rank_0_ends_the_others(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def follow() -> None:
        try:
            list(calls(tmp_path, SECOND))
        except JobError as error:
            errors.append(error)

    follower = threading.Thread(target=follow)
    follower.start()
    leader = leading(tmp_path, FIRST)
    leader.__enter__()
    time.sleep(0.3)
    assert not leader.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    follower.join(10)
    assert "rank 1 stops because rank 0 has failed" in str(errors)


def test_a_session_that_does_not_count_up_is_none(tmp_path: Path) -> None:
    (tmp_path / SESSION).write_text(STALE)
    with pytest.raises(JobError, match="rank 0 has not begun within 1 s; all ranks must see the folder"):
        next(calls(tmp_path, SECOND))


def test_rank_0_may_fall_silent(tmp_path: Path) -> None:
    heard = calls(tmp_path, SECOND)
    leader = leading(tmp_path, FIRST)
    leader.__enter__()
    call_ranks(tmp_path, Call("run0", FILES, 60.0, "host", 1))
    assert next(heard).folder == "run0"
    assert not leader.__exit__(RuntimeError, RuntimeError(), None)
    (tmp_path / SESSION).unlink()
    with pytest.raises(JobError, match="rank 0 has given no sign for 1 s"):
        next(heard)


def test_rank_0_watches_the_others_and_they_watch_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_watch, "LOST_AFTER", 0.3)
    lost: list[int] = []
    monkeypatch.setattr(rank_watch, "leave_lost", lambda rank, _: lost.append(rank))
    with leading(tmp_path, FIRST):
        call_ranks(tmp_path, Call("run0", FILES, 60.0, "host", 1))
        heard = calls(tmp_path, SECOND)
        next(heard)
        with watching_others(tmp_path, FIRST), watching_others(tmp_path, SECOND):
            time.sleep(1)
            assert lost == []
            heard.close()  # ends the second's signs
            time.sleep(1)
            assert lost == [1]
        next(tmp_path.glob("*/call_0.json")).with_name("left_1").touch()
    tmp_path.mkdir()
    (tmp_path / SESSION).write_text(STALE)
    with watching_others(tmp_path, SECOND):
        time.sleep(1)
    assert lost == [1, 0]
