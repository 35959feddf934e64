"""The program in an empty folder, with one stand-in for all of its jobs."""

import sys

import pytest

import segfw.__main__ as program
from segfw.command_line import VERBS


class Jobs:
    """What the jobs were given, call by call; `act` is their work."""

    def __init__(self):
        self.settings, self.multiruns = [], []
        self.act = lambda settings: None

    def run(self, settings, multirun=None):
        self.settings.append(settings)
        self.multiruns.append(multirun)
        return self.act(settings)


@pytest.fixture(autouse=True)
def _surroundings(in_an_empty_folder, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture
def jobs(monkeypatch):
    """Put one object in the place of every verb's job."""
    jobs = Jobs()
    for verb in VERBS.values():
        monkeypatch.setitem(sys.modules, verb.job.partition(":")[0], jobs)
    return jobs


@pytest.fixture
def run(capsys):
    """Run the program in this process; return its exit status, stdout and stderr."""

    def run(*words):
        status = program.main(words)
        return status, *capsys.readouterr()

    return run
