"""Two commands that find no splits.json make one file of folds: the second takes it, or is refused as ever."""

from contextlib import contextmanager

import pytest

from segfw.core.errors import UsageError
from segfw.core.settings.schema import ExperimentSettings, SplitSettings
from segfw.stages.dataset import folds
from segfw.stages.dataset.folds import prepare_splits, read_splits
from segfw.workspace import Workspace
from tests.stages.dataset.test_folds import NAMES, never, record_of


def prepare(workspace, seed):
    prepare_splits(ExperimentSettings(split=SplitSettings(seed=seed)), workspace, record_of(NAMES), never)


@pytest.fixture
def meanwhile(tmp_path, monkeypatch):
    """Let another command, of the seed 1, be done while this one waits for the lock; returns the folder of both."""
    workspace, hold = Workspace(tmp_path / "out"), folds.hold

    @contextmanager
    def hold_after_another(path, what):
        monkeypatch.setattr(folds, "hold", hold)
        prepare(workspace, 1)
        with hold(path, what) as lock:
            yield lock

    monkeypatch.setattr(folds, "hold", hold_after_another)
    return workspace


def test_folds_that_another_command_has_made_meanwhile_are_not_replaced(meanwhile):
    with pytest.raises(UsageError, match=r"holds other folds than .* split\.seed=2 gives"):
        prepare(meanwhile, 2)
    found = read_splits(meanwhile.splits)
    prepare(meanwhile, 1)
    assert read_splits(meanwhile.splits) == found


def test_the_same_folds_are_taken_as_they_are(meanwhile, caplog):
    caplog.set_level("INFO")
    prepare(meanwhile, 1)
    assert len([text for text in caplog.messages if text.startswith("splits: wrote")]) == 1
    assert not list((meanwhile.root / ".locks").glob("splits.lock"))
