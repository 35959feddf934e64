"""What jobs say of themselves, and what is known of those that say nothing more."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from segfw.core.support.job_board import Posting, end_jobs, make_board, post, read_board, wait_for_jobs
from segfw.core.support.parents import started_at

MINE = Posting(3, ("folds=1",), "main", "logs/3/segfw.log")


@pytest.fixture
def board(tmp_path):
    make_board(tmp_path / "board")
    return tmp_path / "board"


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def posting_of(process):
    return replace(MINE, number=1, pid=process.pid, started=started_at(process.pid))


def test_the_last_word_of_each_job_counts(board):
    post(board, MINE)
    post(board, replace(MINE, number=0))
    post(board, replace(MINE, state="failed", status=2, message="no"))
    assert [(each.number, each.state, each.message) for each in read_board(board)] == [
        (0, "running", ""), (3, "failed", "no"),
    ]  # fmt: skip


def test_what_is_no_posting_is_left_out(board):
    (board / "7.json").write_text('{"number": 7')
    (board / "8.json").write_text('{"number": "seven"}')
    assert read_board(board) == []


def test_a_job_is_here_while_its_process_runs(board, sleeper):
    running = posting_of(sleeper)
    assert running.is_here
    assert not replace(running, host="elsewhere").is_here
    assert not replace(running, started="1").is_here, "the number was given to another process"
    assert not replace(running, pid=os.getpid(), started=started_at(os.getpid())).is_here, "that is this one"
    sleeper.kill()
    sleeper.wait()
    assert not running.is_here


def test_jobs_of_this_computer_are_ended(board, sleeper):
    post(board, posting_of(sleeper))
    end_jobs(board)
    assert sleeper.wait(10) == -15
    wait_for_jobs(board)


def test_one_that_does_not_listen_is_ended_at_last(board):
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as deaf:
        assert deaf.stdout is not None
        deaf.stdout.readline()
        post(board, posting_of(deaf))
        end_jobs(board, patience=0.1)
        assert deaf.wait(10) == -9
