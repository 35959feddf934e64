"""A training so small that it takes a second: three cases of 16 voxels' edge, two stages, two steps an epoch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segfw.core.imaging.preprocessing import preprocess_case
from segfw.core.labels import LabelSet
from segfw.core.plan import Configuration, IntensityStatistics, Plan
from segfw.core.settings.schema import InferenceSettings
from segfw.core.settings.training import DataSettings, TrainerSettings
from segfw.core.types import IntArray, Volume
from segfw.data.case_files import commit_store, save_case
from segfw.training.callbacks import curves_log
from segfw.training.devices import Device
from segfw.training.fit import FoldResult, fit_fold
from segfw.training.run import FoldRun
from segfw.training.validation import FoldIO

CASES = ("a", "b", "c")
SHAPE = (16, 16, 16)
CPU = Device("cpu", "CPU", "32-true", 1, "CPU, 1 thread")


def make_plan() -> Plan:
    """Two labels, one channel, two stages."""
    configuration = Configuration(
        spacing=(1.0, 1.0, 1.0),
        patch_size=(8, 8, 8),
        batch_size=2,
        median_image_size_in_voxels=(16.0, 16.0, 16.0),
        architecture="unet",
        features_per_stage=(4, 6, 8),
        kernel_sizes=((3, 3, 3),) * 3,
        strides=((1, 1, 1), (2, 2, 2), (2, 2, 2)),
        n_conv_per_stage=(1, 1, 1),
        n_conv_per_stage_decoder=(1, 1),
        normalization_schemes=("zscore",),
        use_mask_for_norm=(False,),
        batch_dice=True,
    )
    return Plan(
        dataset_name="Tiny",
        planner="default",
        channel_names=("MRI",),
        labels=LabelSet({"background": 0, "core": 1, "shell": 2}),
        original_median_spacing_after_transp=(1.0, 1.0, 1.0),
        original_median_shape_after_transp=SHAPE,
        transpose_forward=(0, 1, 2),
        transpose_backward=(0, 1, 2),
        intensities=(IntensityStatistics(0.0, 0.0, 1.0, -1.0, 1.0, 1.0, -1.0),),
        configurations={"3d_fullres": configuration},
    )


def make_case(name: str) -> tuple[Volume, Volume]:
    """A noisy ball (label 1) within a brighter shell (label 2); every case elsewhere."""
    rng = np.random.default_rng(ord(name))
    center = rng.uniform(6, 10, 3)
    distance = np.sqrt(sum((grid - c) ** 2 for grid, c in zip(np.indices(SHAPE), center, strict=True)))
    label = np.where(distance < 3, 1, np.where(distance < 5, 2, 0)).astype(np.int16)
    image = (label + rng.normal(0, 0.3, SHAPE) + 2).astype(np.float32)
    return Volume(image[None], (1.0, 1.0, 1.0)), Volume(label[None], (1.0, 1.0, 1.0))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed store of the three cases."""
    folder, plan = tmp_path_factory.mktemp("store"), make_plan()
    for name in CASES:
        save_case(folder, name, preprocess_case(*make_case(name), plan, plan.configurations["3d_fullres"]))
    commit_store(folder, {})
    return folder


@pytest.fixture
def make_run(store: Path) -> Callable[..., FoldRun]:
    """Give a maker of runs: `make_run(max_epochs=2, seed=1, ...)`; what is not a trainer setting goes to the run."""

    def make(max_epochs: int = 2, val_batches: int = 2, workers: int = 0, **changes: object) -> FoldRun:
        trainer = TrainerSettings(
            max_epochs=max_epochs, limit_train_batches=2, limit_val_batches=val_batches, enable_progress_bar=False
        )
        values: dict[str, object] = {
            "plan": make_plan(),
            "configuration_name": "3d_fullres",
            "fold": 0,
            "train_cases": ("a", "b"),
            "val_cases": ("c",),
            "store": str(store),
            "trainer": trainer,
            "data": DataSettings(workers=workers),
            "inference": InferenceSettings(step_size=1.0, mirror=False),
            "seed": 7,
        }
        return FoldRun(**{**values, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the drawing of curves, which takes longer than these trainings, by an empty file."""
    monkeypatch.setattr(curves_log, "draw_curves", lambda rows, path: path.write_bytes(b""))


def memory_io() -> FoldIO:
    """References from memory; segmentations written as plain npy."""

    def write(case: str, array: IntArray, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.save(file, array)

    return FoldIO(read_reference=lambda case: make_case(case)[1], write_segmentation=write)


@pytest.fixture
def io() -> FoldIO:
    """Give `memory_io`."""
    return memory_io()


@pytest.fixture
def fit(io: FoldIO) -> Callable[..., FoldResult]:
    """Give `fit(run, folder, *callbacks)`: train on one thread of the CPU."""
    return lambda run, folder, *callbacks: fit_fold(run, folder, CPU, io, callbacks)
