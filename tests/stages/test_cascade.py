"""A cascade's first stage through the program: what it hands on is complete, fresh, and refused when it is not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segfw.__main__ import main
from segfw.core.errors import ArtefactError, UsageError
from segfw.core.plan_yaml import plan_from_yaml, plan_to_yaml
from segfw.core.settings import ExperimentSettings
from segfw.stages import pipeline
from segfw.stages.cascade import require_previous
from segfw.stages.job import Job, prepare
from segfw.training.callbacks import curves_log
from segfw.workspace import read_artefact

pytestmark = pytest.mark.slow

CASCADE = "3d_cascade_fullres"
TINY = (
    "+task=Demo",
    "experiment=published",
    "configurations=[3d_lowres]",
    "split.num_folds=2",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=1",
    "trainer.limit_val_batches=1",
    "trainer.accelerator=cpu",
    "inference.mirror=false",
    "executor.workers=0",
)


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Train the first stage of a cascade on both folds, by a plan edited for it."""
    root = tmp_path_factory.mktemp("cascade")
    roots = [f"data_root={root / 'data'}", f"output_root={root / 'out'}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segfw.core.fingerprint.TOTAL_SAMPLES", 20_000)
        patch.setattr(curves_log, "draw_curves", lambda rows, path: path.write_bytes(b""))  # takes longer than training
        fullres = [each for each in TINY if "lowres" not in each]
        assert main([*fullres, *roots, "configurations=[3d_fullres]", "stages=[fingerprint,plan]"]) == 0
        plan_file = root / "plan.yaml"
        plan = plan_from_yaml(read_artefact(root / "out/Demo/plans/default.yaml"), "default.yaml")
        small = replace(
            plan.configuration("3d_fullres"), patch_size=(16, 16, 16), features_per_stage=(4, 8, 8), batch_size=2,
            kernel_sizes=((3, 3, 3),) * 3, strides=((1, 1, 1), (2, 2, 2), (2, 2, 2)), n_conv_per_stage=(1, 1, 1),
            n_conv_per_stage_decoder=(1, 1),
        )  # fmt: skip
        lowres = replace(small, spacing=tuple(3 * s for s in small.spacing), next_stage=CASCADE)
        stages = {"3d_fullres": small, "3d_lowres": lowres, CASCADE: replace(small, previous_stage="3d_lowres")}
        plan_file.write_text(plan_to_yaml(replace(plan, configurations=stages)))
        given = [*TINY, *roots, f"planner.plan_file={plan_file}"]
        assert main([*given, "stages=[preprocess,train]"]) == 0
        fullres = [each for each in given if "lowres" not in each]
        assert main([*fullres, "configurations=[3d_fullres]", "stages=[preprocess]"]) == 0
    return given


@pytest.fixture
def job(arguments: list[str]) -> Job:
    """The job as the stages see it, with the program's own settings."""
    jobs: list[Job] = []

    def keep(settings: ExperimentSettings) -> None:
        jobs.append(prepare(settings))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "run", keep)
        assert main(arguments) == 0
    return jobs[0]


def folder(job: Job, fold: int) -> Path:
    return job.workspace.run("main", "default", "planned", "3d_lowres", fold) / "next_stage"


def test_every_case_is_handed_on_by_the_fold_that_left_it_out(job: Job) -> None:
    previous = require_previous(job, CASCADE)
    for fold, split in enumerate(job.splits):
        assert {path.name.split(".")[0] for path in folder(job, fold).glob("*.npy")} == set(split.val)
    for case in job.dataset.cases:
        segmentation = previous.segmentation(case.name)
        assert segmentation.dtype == np.uint8
        assert segmentation.max() <= 3


def test_what_is_missing_is_named_and_made_again_without_training(job: Job, arguments: list[str]) -> None:
    def state() -> dict[Path, int]:
        kept = [*folder(job, 0).iterdir(), *(folder(job, 1).parent / "checkpoints").iterdir()]
        return {path: path.stat().st_mtime_ns for path in kept}

    before = state()
    next(folder(job, 1).glob("*.npy")).unlink()
    with pytest.raises(ArtefactError, match=r"fold_1/next_stage, case 'demo_\d\d': .* is missing; run the train stage"):
        require_previous(job, CASCADE)
    assert main([*arguments, "stages=train"]) == 0
    assert state() == before
    require_previous(job, CASCADE)


def test_an_unfinished_fold_is_named(job: Job) -> None:
    done = folder(job, 1).parent / "done.yaml"
    moved = done.rename(done.with_suffix(".bak"))
    with pytest.raises(ArtefactError, match=r"3d_lowres, whose fold 1 is not finished.*configurations=\[3d_lowres\]"):
        require_previous(job, CASCADE)
    moved.rename(done)


def test_only_a_second_stage_has_a_previous_one(job: Job) -> None:
    with pytest.raises(UsageError, match="configuration 3d_fullres has no previous stage"):
        require_previous(job, "3d_fullres")
