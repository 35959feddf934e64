"""What `status` says of runs that were made before a person has edited the plan."""

from dataclasses import replace

import pytest

from segfw.core.settings.schema import PlanOverrides
from segfw.core.settings.training import OptimizerSettings
from segfw.stages.inspection import run_signs
from segfw.stages.job import Job, prepare
from segfw.stages.trainings.runs import CONFIG
from segfw.workspace import save_artefact
from tests.stages.inspection.conftest import NAME, begin, finish, fold, stage, told

RESULT = "Dice 0.7500, 5 epochs, trained for 2 min"


def edit(job: Job, batch_size: int) -> None:
    """Write another batch size into the plan, as a person does."""
    path = job.workspace.plan("default")
    text = path.read_text(encoding="utf-8")
    at = text.index("batch_size: ", text.index(f"\n  {NAME}:"))
    path.write_text(f"{text[:at]}batch_size: {batch_size}{text[text.index(chr(10), at) :]}", encoding="utf-8")


def run_of_main(rows: list[list[str]]) -> str:
    """Return what is told of fold 0 of name=main, whatever name the command has."""
    return fold([row for row in rows if "begun" not in row], 0)


@pytest.mark.parametrize("name", ["main", "another"])
def test_a_run_of_the_plan_before_its_edit_is_stale_whatever_name_is_asked_for(job, caplog, name):
    finish(job, 0)
    edit(job, 3)
    rows = told(prepare(job.settings), caplog, name=name)
    assert run_of_main(rows) == f"stale {RESULT}; changed since: plan.batch_size ({NAME}), by hand in the plan"
    assert stage(rows, "report").startswith("waiting ")
    finish(prepare(replace(job.settings, name="after")), 1)
    rows = told(prepare(job.settings), caplog, name=name)
    assert ["default/planned/" + NAME, "1", "done", *RESULT.split()] in rows


def test_a_run_that_the_edit_does_not_reach_is_done(job, caplog):
    finish(replace(job, settings=replace(job.settings, plan=PlanOverrides(batch_size=4))), 0)
    edit(job, 3)
    path = job.workspace.plan("default")
    rows = told(prepare(job.settings), caplog, name="another")
    assert run_of_main(rows) == f"done {RESULT}"
    path.write_text(path.read_text().replace("planner: default", "planner: [", 1))
    assert run_of_main(told(prepare(job.settings), caplog, name="another")) == f"done {RESULT}"


def test_a_run_that_cannot_be_with_the_edited_plan_is_stale_and_says_why(job, caplog):
    finish(replace(job, settings=replace(job.settings, plan=PlanOverrides(patch_size=(16, 16, 16)))), 0)
    path = job.workspace.plan("default")
    path.write_text(path.read_text().replace(f"\n  {NAME}:", "\n  3d_other:"))
    rows = told(prepare(job.settings), caplog, name="another", configurations="auto")
    assert run_of_main(rows).startswith(f"stale {RESULT}; changed since: the plan, by hand: ")


@pytest.mark.parametrize("content", ["[]", "command: []", "command: {}\nrun: 3", "command: {plan: 3}\nrun: {plan: 3}"])
def test_a_config_yaml_that_somebody_has_exchanged_ends_nothing(job, caplog, content):
    folder = begin(job, 0)
    save_artefact(folder / CONFIG, content, {})
    edit(job, 3)
    assert run_of_main(told(prepare(job.settings), caplog, name="another")).split()[0] in ("interrupted", "stale")


def test_lists_of_cases_are_not_parsed(job, caplog, monkeypatch):
    finish(job, 0)
    edit(job, 3)
    read = []
    load = run_signs.load_plain_yaml
    monkeypatch.setattr(run_signs, "load_plain_yaml", lambda text: read.append(text) or load(text))
    told(prepare(job.settings), caplog, name="another")
    (text,) = [each for each in read if "configuration_name" in each]
    assert "train_cases:" not in text
    assert "\n  val_cases:" not in text
    assert "\n  store: " in text
    assert "\n  fold: 0\n" in text


def test_values_of_an_edited_plan_are_told_to_be_of_that_file_not_of_the_command(job, caplog):
    finish(job, 0)
    path, planned = job.workspace.plan("default"), job.plan.configuration(NAME).batch_size
    edit(job, 3)
    edited = f"plan.batch_size ({NAME}): {planned} there, 3 now, from {path}, which was edited by hand"
    copy = "; to edit the plan for one training alone, copy it and give planner.plan_file=COPY"

    def said(**changes: object) -> list[str]:
        rows = [" ".join(row) for row in told(prepare(job.settings), caplog, folds=(0,), **changes)]
        return rows[rows.index("This command would stop before it trains, and leave every run as it is:") + 2 :]

    rows = said()
    assert rows[0] == edited
    assert rows[1].startswith("undo the edit of the plan to go on with it, keep both with name=ANOTHER, or ")
    assert rows[1].endswith(f"overwrite=true{copy}")
    rows = said(optimizer=OptimizerSettings(lr=0.5))
    assert rows[:2] == ["optimizer.lr: 0.01 there, 0.5 now", edited]
    assert rows[2].startswith("give the settings of that run and undo the edit of the plan to go on with it, ")
    rows = said(plan=PlanOverrides(batch_size=4))
    assert rows[0] == f"plan.batch_size ({NAME}): {planned} there, 4 now"
    assert rows[1].startswith("give the settings of that run to go on with it, ")
    assert not rows[1].endswith(copy)
