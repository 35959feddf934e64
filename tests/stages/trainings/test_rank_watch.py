import subprocess
import sys
import threading
from pathlib import Path

import pytest

from segfw.stages.trainings import rank_watch
from segfw.stages.trainings.rank_watch import beating, leave_lost, sign_in, watching


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look every 5 ms, and lost after ten of them."""
    monkeypatch.setattr(rank_watch, "BEAT_SECONDS", 0.005)
    monkeypatch.setattr(rank_watch, "LOST_AFTER", 0.05)


class Lost:
    """Notes who was taken for lost."""

    def __init__(self) -> None:
        self.ranks: list[int] = []
        self.seen = threading.Event()

    def __call__(self, rank: int, seconds: float) -> None:
        self.ranks.append(rank)
        self.seen.set()


def test_who_falls_silent_is_lost_and_who_beats_is_not(tmp_path: Path) -> None:
    lost = Lost()
    with (
        beating(lambda beat: (tmp_path / "1").write_text(str(beat))),
        watching({1: sign_in(tmp_path / "1"), 2: sign_in(tmp_path / "never")}, lost),
    ):
        assert lost.seen.wait(10)
    assert lost.ranks == [2]


def test_looks_that_cannot_be_had_count_for_nobody() -> None:
    lost, looks = Lost(), threading.Semaphore(0)

    def stale() -> str:
        looks.release()
        raise OSError(116, "Stale file handle")

    with watching({1: stale}, lost):
        assert all(looks.acquire(timeout=10) for _ in range(30))  # three times what is enough
    assert lost.ranks == []


def test_a_sign_that_cannot_be_given_is_told_and_given_again(caplog: pytest.LogCaptureFixture) -> None:
    given = threading.Event()

    def write(beat: int) -> None:
        if beat == 2:
            raise OSError(28, "No space left on device")
        if beat == 3:
            given.set()

    with beating(write):
        assert given.wait(10)
    assert "could not tell the other ranks that this one is alive: [Errno 28] No space left" in caplog.text


def test_the_process_ends_although_its_main_thread_is_held() -> None:
    code = f"import threading; from {leave_lost.__module__} import *; "
    code += "threading.Timer(0.1, leave_lost, (3, 300.0)).start(); threading.Event().wait()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert ended.returncode == 1
    assert "segfw: rank 3 has given no sign for 300 s: its computer, network or file system is taken" in ended.stderr
