"""A child that leaves with its parent, also with one that is gone before the child looks."""

import os
import subprocess
import sys
import threading

from segfw.core.support.parents import leave_with_parent

CODE = """
import sys, time
from segfw.core.support.parents import leave_with_parent
leave_with_parent(int(sys.argv[1]))
time.sleep(float(sys.argv[2]))
"""


def run_child(parent: int, seconds: float) -> int:
    return subprocess.run([sys.executable, "-c", CODE, str(parent), str(seconds)], timeout=60, check=False).returncode


def test_a_child_of_a_living_parent_stays() -> None:
    assert run_child(os.getpid(), 1.5) == 0


def test_a_child_leaves_whose_parent_was_gone_before_it_looked() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert run_child(gone.pid, 50) == 1


def test_the_way_to_leave_can_be_chosen() -> None:
    left = threading.Event()
    leave_with_parent(-1, left.set)
    assert left.wait(30)
