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
def _logging_as_it_was():
    """Give logging back: each command in this process sets it up, on streams that end with their test."""
    loggers = [logging.getLogger(), logging.getLogger("segfw.failures")]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.level, logger.propagate = handlers, level, propagate


@pytest.fixture
def one_thread():
    """Let PyTorch compute on a single thread, so that a batch goes through a network in one piece."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
