"""What the report tells of a plan whose values were given, and of runs that were given others."""

from dataclasses import replace

import pytest

from segfw.core.settings.checks import check_settings
from segfw.core.settings.schema import ExperimentSettings, PlanOverrides
from segfw.core.settings.training import OptimizerSettings
from segfw.stages import pipeline
from segfw.stages.job import Job, prepare
from segfw.stages.reporting.plan import explained_first, other_settings, reasons_of
from segfw.stages.trainings.runs import CONFIG, Done, FinishedFold, config_of, load_config, make_run, run_folder
from segfw.stages.trainings.sameness import TRAINING, training_hash
from segfw.workspace import save_artefact, to_yaml
from tests.stages import tiny_dataset

NAME = "3d_fullres"
GIVEN = PlanOverrides(batch_size=5)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> ExperimentSettings:
    """A dataset with fingerprint and plan."""
    root = tmp_path_factory.mktemp("plan")
    tiny_dataset.make(root / "tiny")
    settings = replace(tiny_dataset.settings_of(root / "tiny", root / "out"), configurations=[NAME])
    settings = check_settings(replace(settings, plan=PlanOverrides(), stages=["fingerprint", "plan"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segfw.core.planning.fingerprint.TOTAL_SAMPLES", 1000)
        pipeline.run(settings)
    return settings


def finish(job: Job) -> FinishedFold:
    """Leave what the first fold of a training leaves that tells its settings."""
    folder, run = run_folder(job, NAME, 0), make_run(job, NAME, 0)
    folder.mkdir(parents=True, exist_ok=True)
    config = config_of(job, run)
    save_artefact(folder / CONFIG, to_yaml(config), {TRAINING: training_hash(config)})
    return FinishedFold(folder, run, Done(5, 10, "w", "i", None, 0.75, {}), None)


def test_a_given_batch_is_told_as_given(planned: ExperimentSettings) -> None:
    job = prepare(replace(planned, plan=GIVEN))
    before = job.generated_plan.configuration(NAME).batch_size
    reasons, notes = reasons_of(job)
    place = f"configurations.{NAME}.patch_size"
    assert reasons[place] == f"Given: patch_size as planned; plan.batch_size=5, planned {before}."
    assert notes == (f"{NAME}: batch_size differs from what was planned (plan.*, or the network’s memory).",)
    assert reasons_of(prepare(planned))[0][place].startswith("Here: a cube in mm of ")


def test_a_page_made_with_other_words_than_the_training_says_so(planned: ExperimentSettings) -> None:
    job = prepare(replace(planned, plan=GIVEN))
    fold = finish(job)
    assert other_settings(job, [fold]) == ()
    (note,) = other_settings(prepare(replace(planned, optimizer=OptimizerSettings(lr=0.5))), [fold])
    assert note == (
        "The plan below is that of this command; these folds were trained with other settings: "
        f"default/planned/{NAME} fold 0 (optimizer.lr, plan.batch_size ({NAME}))."
    )


def test_the_reasons_of_what_was_trained_are_explained_first(planned: ExperimentSettings) -> None:
    job = prepare(planned)
    assert explained_first(job, job.plan, []) == NAME != next(iter(job.plan.configurations))
    both = prepare(replace(planned, configurations=["2d", NAME]))
    assert explained_first(both, both.plan, []) == "2d"
    assert explained_first(both, both.plan, [finish(both)]) == NAME
    assert explained_first(both, None, []) is None


def test_the_training_keeps_which_values_of_the_plan_were_given(planned: ExperimentSettings) -> None:
    folder = finish(prepare(replace(planned, plan=GIVEN))).folder
    command = load_config(folder)["command"]
    assert isinstance(command, dict)
    assert command["plan"] == {"batch_size": 5}
