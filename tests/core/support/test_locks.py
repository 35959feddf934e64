"""One writer at a time; dead owners are found out, sleepers do not commit."""

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from segfw.core.errors import ArtefactError
from segfw.core.support import locks
from segfw.core.support.locks import hold, owner_of


def test_the_lock_is_gone_afterwards(tmp_path):
    path = tmp_path / "x.lock"
    with hold(path, "x") as lock:
        lock.check()
        assert path.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_second_command_is_told_who_holds_it(tmp_path):
    path = tmp_path / "x.lock"
    with hold(path, "the plan"), pytest.raises(ArtefactError) as told, hold(path, "the plan", wait=False):
        pass
    assert f"the plan is being written by process {os.getpid()} on" in str(told.value)


def test_a_second_thread_waits(tmp_path):
    path = tmp_path / "x.lock"
    order = []

    def second():
        with hold(path, "x"):
            order.append("second")

    with hold(path, "x"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_one_killed_before_it_signed_is_found_out_soon(tmp_path):
    path = tmp_path / "x.lock"
    path.touch()
    with pytest.raises(ArtefactError, match=r"written by process \? on \?"), hold(path, "x", wait=False):
        pass
    before = time.time() - locks.UNSIGNED - 1
    os.utime(path, (before, before))
    with hold(path, "x", wait=False) as lock:
        lock.check()


def test_a_killed_owner_is_found_out_at_once(tmp_path):
    path = tmp_path / "x.lock"
    code = (
        "import os, sys; from pathlib import Path; from segfw.core.support.locks import Lock;"
        "Lock(Path(sys.argv[1]))._try(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert path.exists()
    with hold(path, "x", wait=False) as lock:
        lock.check()


def test_another_host_keeps_the_lock_until_it_expires(tmp_path):
    path = tmp_path / "x.lock"
    path.write_text(json.dumps({"token": "t", "host": "elsewhere", "pid": 1, "started": "1"}))
    with pytest.raises(ArtefactError, match="process 1 on elsewhere"), hold(path, "x", wait=False):
        pass
    long_ago = time.time() - locks.EXPIRY - 1
    os.utime(path, (long_ago, long_ago))
    with hold(path, "x", wait=False):
        assert json.loads(path.read_text())["host"] == socket.gethostname()


def test_a_sleeper_must_not_commit(tmp_path):
    path = tmp_path / "x.lock"
    with hold(path, "x") as sleeper:
        path.write_text(json.dumps({"token": "other", "host": "elsewhere", "pid": 7, "started": "1"}))
        with pytest.raises(ArtefactError, match=r"lost the lock.*process 7 on elsewhere"):
            sleeper.check()
    assert path.exists()


def test_a_living_lock_taken_for_the_dead_one_is_put_back(tmp_path):
    path = tmp_path / "x.lock"
    living = {"token": "fresh", "host": "elsewhere", "pid": 1, "started": "1"}
    path.write_text(json.dumps(living))
    locks._break(path, {"token": "stale", "host": "elsewhere", "pid": 2, "started": "1"})
    assert json.loads(path.read_text()) == living
    locks._break(path, living)
    assert list(tmp_path.iterdir()) == []


def test_an_unreadable_lock_waits_for_expiry(tmp_path):
    path = tmp_path / "x.lock"
    path.write_text("")
    with pytest.raises(ArtefactError, match=r"process \? on \?"), hold(path, "x", wait=False):
        pass


def test_a_lock_of_endless_brackets_says_nothing(tmp_path):
    path = tmp_path / "x.lock"
    path.write_text("[" * 100_000)
    with pytest.raises(ArtefactError, match=r"process \? on \?"), hold(path, "x", wait=False):
        pass


@pytest.mark.parametrize(
    "make",
    [lambda path: path.symlink_to("nowhere"), lambda path: path.mkdir(), os.mkfifo],
    ids=["dangling link", "folder", "pipe"],
)
def test_what_is_in_the_place_of_a_lock_is_named_at_once(tmp_path, make):
    path = tmp_path / "x.lock"
    make(path)
    with pytest.raises(ArtefactError, match=r"x\.lock is in the place of a lock; remove it") as told, hold(path, "x"):
        pass
    assert not isinstance(told.value, locks.Held)  # whoever tries others in turn must not take it for a busy one
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "it is gone: another command .* or it or its folder was removed"), ("{}", "no longer says who holds it")],
)
def test_a_lost_lock_tells_no_more_than_is_known(tmp_path, content, why):
    path = tmp_path / "x.lock"
    with hold(path, "x") as lock:
        path.unlink() if content is None else path.write_text(content)
        with pytest.raises(ArtefactError, match=f"lost the lock .*{why}") as told:
            lock.check()
    assert "not renewed" not in str(told.value)


def test_an_interruption_right_after_the_file_was_made_leaves_none(tmp_path, monkeypatch):
    def interrupted(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(locks.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt), hold(tmp_path / "x.lock", "x"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_owner_is_told_without_waiting_and_without_a_change(tmp_path):
    path = tmp_path / "x.lock"
    assert owner_of(path) is None
    before = time.time()
    with hold(path, "x"):
        content = path.read_bytes()
        owner = owner_of(path)
        assert (owner.host, owner.pid, owner.alive) == (socket.gethostname(), str(os.getpid()), True)
        assert before <= owner.since <= owner.seen + 1
        assert path.read_bytes() == content
    path.write_text("")
    assert owner_of(path) == locks.Owner("?", "?", None, path.stat().st_mtime, alive=True)
    long_ago = time.time() - locks.EXPIRY - 1
    os.utime(path, (long_ago, long_ago))
    assert not owner_of(path).alive
