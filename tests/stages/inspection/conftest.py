"""A prepared folder, what trainings leave in it, and the rows that `status` shows of it."""

import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from segfw.core.settings.checks import check_settings
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.settings.training import TrainerSettings
from segfw.stages import pipeline
from segfw.stages.inspection import status
from segfw.stages.job import Job, prepare
from segfw.stages.trainings.runs import CONFIG, Done, config_of, make_run, run_folder
from segfw.stages.trainings.sameness import TRAINING, training_hash
from segfw.training.run import validated_with
from segfw.workspace import digest, save_artefact, to_yaml
from tests.stages import tiny_dataset

NAME = "3d_fullres"
CANDIDATE = f"default/planned/{NAME}"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> ExperimentSettings:
    """A dataset with fingerprint, plan and stores; nothing is trained."""
    root = tmp_path_factory.mktemp("status")
    tiny_dataset.make(root / "tiny")
    settings = tiny_dataset.settings_of(root / "tiny", root / "out")
    settings = replace(
        settings, stages=["fingerprint", "plan", "preprocess"], configurations=[NAME], trainer=TrainerSettings(5)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segfw.core.planning.fingerprint.TOTAL_SAMPLES", 1000)
        pipeline.run(check_settings(settings))
    return check_settings(replace(settings, stages="all"))


@pytest.fixture
def job(prepared: ExperimentSettings, tmp_path: Path) -> Job:
    """The job on a copy of the folder."""
    shutil.copytree(prepared.output_root, tmp_path / "out", copy_function=shutil.copy2)
    return prepare(replace(prepared, output_root=str(tmp_path / "out")))


def begin(job: Job, fold: int) -> Path:
    """Leave what a training leaves that has begun and saved a checkpoint."""
    folder = run_folder(job, NAME, fold)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    config = config_of(job, make_run(job, NAME, fold))
    save_artefact(folder / CONFIG, to_yaml(config), {TRAINING: training_hash(config)})
    return folder


def finish(job: Job, fold: int, epochs: int = 5) -> Path:
    """Leave what a finished training leaves."""
    folder = begin(job, fold)
    (folder / "validation").mkdir()
    (folder / "validation" / "metrics.json").write_text("{}")
    for case in job.cases_of(fold)[1]:
        (folder / "validation" / f"{case}.nii.gz").touch()
    validated = digest(validated_with(job.settings.inference))
    done = Done(epochs, 10, "w", validated, None, 0.75, {}, training_seconds=120.0)
    (folder / "done.yaml").write_text(to_yaml(done))
    return folder


def told(job: Job, caplog: pytest.LogCaptureFixture, **changes: object) -> list[list[str]]:
    """Return the rows that the verb shows, each split into its columns, after checking that it wrote nothing."""
    before = listing(job.workspace.root)
    caplog.clear()
    with caplog.at_level(logging.INFO), pytest.MonkeyPatch.context() as patch:
        patch.setattr("shutil.get_terminal_size", lambda fallback: os.terminal_size((10_000, 50)))
        patch.setattr(status, "WIDTH", 10_000)
        status.run(replace(job.settings, **changes))  # type: ignore[arg-type]
    assert listing(job.workspace.root) == before
    return [line.split() for line in "\n".join(caplog.messages).splitlines() if line.strip()]


def listing(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(root.rglob("*"))}


def stage(rows: list[list[str]], name: str) -> str:
    return next(" ".join(row[1:]) for row in rows if row[0] == name)


def fold(rows: list[list[str]], number: int) -> str:
    return next(" ".join(row[2:]) for row in rows if row[:2] == [f"default/planned/{NAME}", str(number)])
