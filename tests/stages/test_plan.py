"""Which plan is used and which is kept: one of another dataset is refused, a good one is not replaced by a bad one."""

from dataclasses import replace

import pytest

from segfw.core.errors import UsageError
from segfw.core.labels import LabelSet
from segfw.core.plan_yaml import plan_to_yaml
from segfw.core.settings import ExperimentSettings, PlannerSettings
from segfw.stages import plan as stage
from segfw.stages.job import Job
from tests.stages.golden import make_job


def job_with(folder, **planner):
    job = make_job(folder, ExperimentSettings(planner=PlannerSettings(**planner)))
    plan = job.__dict__.pop("generated_plan")
    return job, plan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"labels": LabelSet({"background": 0, "RV": 1, "LV": 2})},
            r"plans for the labels .*'RV': 1.*'Heart'.*Anterior",
        ),
        ({"channel_names": ("T1", "T2")}, r"plans for the channels \['T1', 'T2'\] of 'Heart'"),
    ],
)
def test_a_plan_of_another_dataset_is_refused(tmp_path, change, message):
    path = tmp_path / "heart.yaml"
    job, plan = job_with(tmp_path, plan_file=str(path))
    other = replace(plan, dataset_name="Heart", **change)
    if "channel_names" in change:
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
