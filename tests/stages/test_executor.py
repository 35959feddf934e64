"""Per-case work: results in order, failures collected, killed processes named."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from segfw.core.errors import DataError, JobError
from segfw.core.settings.schema import IN_PROCESSES, ExecutorSettings
from segfw.stages import executor
from segfw.stages.executor import choose_processes, run_cases


def double(number: int) -> int:
    if number == 3:
        raise DataError("three is refused")
    return 2 * number


def die(number: int) -> int:
    if number == 1:
        os._exit(9)
    if number == -1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def leave_a_mark(path: str) -> str:
    Path(path).touch()
    return path


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_the_order_of_the_cases(workers):
    assert list(run_cases(double, {"b": 1, "a": 2}, ExecutorSettings(workers=workers), "double").items()) == [
        ("b", 2),
        ("a", 4),
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_every_failure_is_listed_after_the_others_are_done(workers, tmp_path):
    with pytest.raises(JobError, match=r"2 of 4 cases failed, the others are done:\n  three: three is refused\n  tres"):
        run_cases(double, {"one": 1, "three": 3, "two": 2, "tres": 3}, ExecutorSettings(workers=workers), "double")


def threads_of(name: str) -> str:
    return os.environ[name]


def test_processes_keep_to_one_thread_and_leave_our_setting_alone(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert run_cases(
        threads_of, {name: name for name in executor.THREADS}, ExecutorSettings(workers=1), "ask"
    ) == dict.fromkeys(executor.THREADS, "1")
    assert os.environ["OMP_NUM_THREADS"] == "2"
    assert "MKL_NUM_THREADS" not in os.environ


def test_what_processes_share_is_there_to_be_loaded_and_is_not_pytorch():
    code = f"import sys, {', '.join(executor.LOADED_AT_ONCE)}; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_killed_process_is_explained_and_the_others_go_on(tmp_path):
    with pytest.raises(JobError) as caught:
        run_cases(
            die, {"one": 1, "killed": -1, **{f"case{i}": i for i in range(2, 8)}}, ExecutorSettings(workers=2), "die"
        )
    assert "2 of 8 cases failed, the others are done" in str(caught.value)
    assert "one: its process ended with status 9" in str(caught.value)
    assert "killed: its process was killed by signal 9" in str(caught.value)
    assert "try executor.workers=1" in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_that_nobody_foresaw_names_its_case_and_keeps_its_traceback(workers, caplog):
    with pytest.raises(JobError, match=r"bad: unexpected TypeError: .*held up to \d+\.\d GB; the traceback is in"):
        run_cases(double, {"bad": None, "good": 1}, ExecutorSettings(workers=workers), "double")
    assert "bad: unexpected TypeError" in caplog.text
    assert "in double" in caplog.text


def test_the_number_of_processes_follows_from_the_free_memory(monkeypatch, caplog):
    monkeypatch.setattr(executor, "available_cores", lambda: 16)
    monkeypatch.setattr(executor, "available_memory", lambda: 10 * 2**30)
    caplog.set_level("INFO")
    assert choose_processes(None, 100, 2**30) == 8  # 80 % of 10 GB
    assert "8 instead of 16 processes: a case may take 1.0 GB, 10.0 GB are free" in caplog.text
    assert choose_processes(None, 100, 20 * 2**30) == 1
    assert choose_processes(None, 100) == 16
    assert choose_processes(None, 9, 2**20) == 2
    assert choose_processes(5, 100, 20 * 2**30) == 5


def test_workers_end_with_a_parent_that_was_killed(tmp_path):
    code = (
        "import sys; from segfw.core.settings.schema import ExecutorSettings;"
        "from segfw.stages.executor import run_cases; from tests.stages.test_executor import sleep_on;"
        "run_cases(sleep_on, {'a': sys.argv[1] + '/a', 'b': sys.argv[1] + '/b'}, ExecutorSettings(workers=2), 'sleep')"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.DEVNULL)
    assert comes_true(lambda: {path.name for path in tmp_path.iterdir()} == {"a", "b"})
    pids = [int(path.read_text()) for path in tmp_path.iterdir()]
    parent.kill()
    parent.wait()
    assert comes_true(lambda: not any(is_running(pid) for pid in pids))


def sleep_on(path: str) -> None:
    temporary = Path(path + ".tmp")
    temporary.write_text(str(os.getpid()))
    temporary.rename(path)
    time.sleep(60)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def comes_true(condition: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def test_nothing_to_do_is_fine(tmp_path):
    assert run_cases(leave_a_mark, {}, IN_PROCESSES, "mark") == {}


def test_lines_come_now_and_then_with_the_time_left(caplog):
    caplog.set_level("INFO")
    now = 0.0
    lines = executor.Lines("preprocess", 10_000, lambda: now)
    for number in range(10_000):
        now += 1.0
        lines.advance(f"case_{number}")
    assert caplog.messages[0] == "preprocess 60/10000 (case_59), 2.8 h left"
    assert len(caplog.messages) == 166  # one a minute, none for the end


def test_a_tenth_that_takes_less_than_a_minute_has_a_line_and_what_is_done_at_once_has_none(caplog):
    caplog.set_level("INFO")
    now = 0.0
    lines = executor.Lines("preprocess", 20, lambda: now)
    for case in map(str, range(20)):
        now += 6.0
        lines.advance(case)
    assert caplog.messages[:2] == ["preprocess 2/20 (1), 2 min left", "preprocess 4/20 (3), 2 min left"]
    caplog.clear()
    run_cases(double, {str(number): 1 for number in range(20)}, ExecutorSettings(workers=0), "double")
    assert caplog.messages == []
