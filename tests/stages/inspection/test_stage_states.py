"""States of stages that `status` and a dry run tell alike."""

import os

import pytest

from segfw.core.settings.schema import ExperimentSettings
from segfw.core.support.locks import hold
from segfw.stages.inspection.run_states import RunSigns
from segfw.stages.inspection.stage_states import selection_state
from segfw.workspace import Workspace


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path)


def test_a_model_of_every_case_has_no_table_and_is_judged_by_itself(workspace):
    folder = workspace.run("main", "default", "planned", "2d", "full")
    folder.mkdir(parents=True)
    (folder / "done.yaml").touch()
    folds = [("default/planned/2d", folder, RunSigns())]

    def told():
        found = selection_state(ExperimentSettings(), workspace, folds)
        return found.state, found.text

    assert told() == ("waiting", "not there yet")
    model = workspace.model("main") / "model.yaml"
    model.parent.mkdir(parents=True)
    model.touch()
    state, text = told()
    assert (state, text.startswith(f"{model.parent}, ")) == ("done", True)
    assert text.endswith("nothing was validated, so that nothing was compared")
    os.utime(folder / "done.yaml", (0, model.stat().st_mtime + 1))
    state, text = told()
    assert (state, text.rpartition("newer: ")[2]) == ("stale", "runs/main/default/planned/2d/fold_full")
    with hold(workspace.lock("selection main"), "the selection"):
        assert told()[0] == "running"
