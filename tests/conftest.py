"""Property tests draw the same examples in every run, so that a failure is the code's and not the draw's.

`pytest --hypothesis-profile=search` draws new ones each time: the way to look for what nobody has seen yet.
A shell lets what it starts in the background ignore Ctrl-C, and the commands that tests interrupt would inherit that.
"""

import logging
import signal

import pytest
import torch
from hypothesis import settings

signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _logging_of_no_command():
    """Let no command that ran in this process log on: each sets logging up, on streams and files that end with it."""
    _forget_commands()
    yield
    _forget_commands()


def _forget_commands():
    root, failures = logging.getLogger(), logging.getLogger("segfw.failures")
    root.handlers[:] = [each for each in root.handlers if type(each).__module__.startswith("_pytest")]
    root.setLevel(logging.WARNING)
    failures.handlers.clear()
    failures.propagate = True


@pytest.fixture
def in_an_empty_folder(tmp_path, monkeypatch):
    """Let `tmp_path` be the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def one_thread():
    """Let PyTorch compute on a single thread, so that a batch goes through a network in one piece."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
