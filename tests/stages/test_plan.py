"""Which plan is used and which is kept: one of another dataset is refused, a good one is not replaced by a bad one."""

import logging
import re
import shlex
from dataclasses import replace

import pytest

from segfw.core.errors import UsageError
from segfw.core.labels import LabelSet
from segfw.core.planning.plan_yaml import plan_from_yaml, plan_to_yaml
from segfw.core.settings.schema import ExperimentSettings, PlannerSettings
from segfw.interop.nnunet import read_plans
from segfw.stages import plan as stage
from segfw.stages.job import Job
from segfw.stages.trainings.runs import run_folder
from tests.stages.golden import HIPPOCAMPUS, make_job


def job_with(folder, **planner):
    job = make_job(folder, ExperimentSettings(planner=PlannerSettings(**planner)))
    plan = replace(job.__dict__.pop("generated_plan"), dataset_name=job.dataset.name)
    return job, plan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"labels": LabelSet({"background": 0, "RV": 1, "LV": 2})},
            r"plans for the labels .*'RV': 1.*'Heart'.*Anterior",
        ),
        (
            {"channel_names": ("CT",)},
            r"heart.yaml: channel_names must be \['MRI'\] like .*'Hippocampus', got \['CT'\].*change that line",
        ),
        ({"channel_names": ("T1", "T2")}, r"plans for the channels \['T1', 'T2'\] of 'Heart'"),
        ({}, r"heart.yaml: dataset_name must be 'Hippocampus', got 'Heart'; if the plan is meant for 'Hippocampus'"),
        (
            {"dataset_name": "Hippocampus", "planner": "resenc"},
            r"heart.yaml: planner must be 'default' or .*got 'resenc', did you mean 'resenc_.'",
        ),
    ],
)
def test_a_plan_of_another_dataset_is_refused(tmp_path, change, message):
    path = tmp_path / "heart.yaml"
    job, plan = job_with(tmp_path, plan_file=str(path))
    other = replace(plan, **{"dataset_name": "Heart"} | change)
    if len(change.get("channel_names", ())) == 2:
        twice = {
            name: replace(
                c, normalization_schemes=c.normalization_schemes * 2, use_mask_for_norm=c.use_mask_for_norm * 2
            )
            for name, c in plan.configurations.items()
        }
        other = replace(other, intensities=plan.intensities * 2, configurations=twice)
    path.write_text(plan_to_yaml(other))
    with pytest.raises(UsageError, match=message):
        _ = job.generated_plan
    path.write_text(plan_to_yaml(plan))
    assert job.generated_plan.labels == plan.labels


def test_a_given_plan_says_whose_runs_these_are(tmp_path):
    path = tmp_path / "mine.yaml"
    job, plan = job_with(tmp_path, plan_file=str(path))
    path.write_text(plan_to_yaml(replace(plan, planner="resenc_l")))
    assert "/resenc_l/" in str(run_folder(job, "2d", 0))
    job, _ = job_with(tmp_path, plan_file=str(path), name="resenc_m")
    with pytest.raises(UsageError, match=r"mine.yaml: planner must be 'resenc_m' here, got 'resenc_l'"):
        _ = job.generated_plan


def test_a_generated_plan_stays_its_planners(tmp_path):
    job, _ = job_with(tmp_path)
    stage._generate(job)
    path = job.workspace.plan("default")
    path.write_text(path.read_text().replace("planner: default", "planner: resenc_l"))
    with pytest.raises(UsageError, match=r"plans/default.yaml: planner must be 'default' here, got 'resenc_l'"):
        _ = job.generated_plan


def test_an_option_that_an_edited_plan_does_not_follow_is_named(tmp_path, caplog):
    job, _ = job_with(tmp_path)
    stage._generate(job)
    path = job.workspace.plan("default")
    path.write_text(path.read_text().replace("batch_dice: false", "batch_dice: true"))
    small = Job(ExperimentSettings(planner=PlannerSettings(gpu_memory_gb=4.0)), job.workspace, job.record)
    small.__dict__.update(fingerprint=job.fingerprint)
    stage._generate(small)
    assert (
        "plan: planner.gpu_memory_gb changed since, which the edited plan does not know "
        "(planner.gpu_memory_gb=4.0 would generate another one)"
    ) in caplog.text


def test_an_emptied_plan_is_refused_with_what_to_do(tmp_path):
    job, _ = job_with(tmp_path)
    stage._generate(job)
    job.workspace.plan("default").write_text("")
    with pytest.raises(UsageError, match=r"plans/default.yaml is empty; correct .*or delete it to have it generated"):
        _ = job.generated_plan


NNUNET = (HIPPOCAMPUS / "plans_default.json").read_text()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "mine.yaml does not exist"),
        (lambda path: path.mkdir(), "must be a YAML file, .*mine.yaml is a folder"),
        (lambda path: path.write_text("# nothing\n"), "mine.yaml is empty"),
        (lambda path: path.write_text(NNUNET), r"mine.yaml is a plans file of nnU-Net; .*read_plans\('.*mine.yaml'\)"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "planner.plan_file: .*mine.yaml cannot be read: .*utf-8"),
        (lambda path: path.write_text("planner: 3\nplanner: 4"), "mine.yaml is no YAML: .*line 2"),
    ],
)
def test_what_is_no_plan_is_refused_before_it_is_said_to_be_used(tmp_path, caplog, make, message):
    job, _ = job_with(tmp_path, plan_file=str(tmp_path / "mine.yaml"))
    make(tmp_path / "mine.yaml")
    with caplog.at_level(logging.INFO), pytest.raises(UsageError, match=re.compile(message, re.DOTALL)):
        stage.run(job)
    assert "using" not in caplog.text


def test_the_command_that_the_message_gives_makes_a_plan(tmp_path, monkeypatch):
    job, _ = job_with(tmp_path, plan_file=str(HIPPOCAMPUS / "plans_default.json"))
    with pytest.raises(UsageError) as refused:
        _ = job.generated_plan
    monkeypatch.chdir(tmp_path)
    program = shlex.split(str(refused.value).partition("python -c ")[2])[0]
    exec(compile(program, "message", "exec"))
    assert plan_from_yaml((tmp_path / "plan.yaml").read_text()) == read_plans(HIPPOCAMPUS / "plans_default.json")


def test_a_plan_that_cannot_be_trained_does_not_replace_a_good_one(tmp_path):
    job, _ = job_with(tmp_path)
    stage._generate(job)
    path = job.workspace.plan("default")
    before = path.read_text()
    coarse = Job(ExperimentSettings(planner=PlannerSettings(target_spacing=(1e3,) * 3)), job.workspace, job.record)
    coarse.__dict__.update(fingerprint=job.fingerprint)
    with pytest.raises(UsageError, match=r"the rules give no plan .*single voxel.*planner.target_spacing=\(1000"):
        stage._generate(coarse)
    assert path.read_text() == before
