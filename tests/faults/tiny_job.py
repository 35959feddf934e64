"""The main job on three tiny cases, stage by stage in this process: its settings, and what it leaves."""

import functools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from segfw.__main__ import main
from segfw.core.settings.schema import ExperimentSettings
from segfw.stages import pipeline
from segfw.stages.reporting import report
from segfw.training.callbacks import curves_log
from tests.stages import tiny_dataset

STAGES = ("fingerprint", "plan", "preprocess", "train", "select", "report")
SIZES = (
    *("task.name=Tiny", "task.folder=Tiny", "configurations=[3d_fullres]", "folds=0", "split.num_folds=3"),
    *("plan.features_per_stage=[4]", "plan.batch_size=2", "trainer.max_epochs=2", "trainer.limit_train_batches=1"),
    *("trainer.limit_val_batches=1", "trainer.threads=1", "trainer.accelerator=cpu", "inference.mirror=false"),
    *("executor.workers=0", "data.workers=0"),
)


def command(root: Path, *changes: str) -> list[str]:
    """Return the words of the main job on the dataset in `root`/data, which is made if it is not there."""
    if not (root / "data" / "Tiny").exists():
        tiny_dataset.make(root / "data" / "Tiny")
    return [*SIZES, f"data_root={root / 'data'}", f"output_root={root / 'out'}", *changes]


def settings_of(root: Path) -> ExperimentSettings:
    """Return the settings that the program makes of the command."""
    words = command(root)
    return replace(_composed(), **dict(word.split("=") for word in words[len(SIZES) :]))


@functools.cache
def _composed() -> ExperimentSettings:
    kept: list[ExperimentSettings] = []
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as logs:
        patch.setattr(pipeline, "run", kept.append)
        assert main([*SIZES, f"output_root={logs}"]) == 0
    return kept[0]


def run(settings: ExperimentSettings, stages: Sequence[str] = STAGES) -> None:
    """Run some stages."""
    pipeline.run(replace(settings, stages=tuple(stages)))


def run_folder(root: Path) -> Path:
    """Return the folder of the only training."""
    return root / "out/Tiny/runs/main/default/planned/3d_fullres/fold_0"


@contextmanager
def cheap() -> Iterator[None]:
    """Leave out what costs more than these trainings: samples of large datasets, and drawing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segfw.core.planning.fingerprint.TOTAL_SAMPLES", 2000)
        patch.setattr(curves_log, "draw_curves", lambda rows, path: path.write_bytes(b""))
        patch.setattr(report, "_content", lambda *_: None)
        patch.setattr(report, "build_report", lambda content: "a page")
        yield


def run_longer(settings: ExperimentSettings) -> None:
    """Train for an epoch more than there is."""
    run(replace(settings, trainer=replace(settings.trainer, max_epochs=3)), ["train"])
