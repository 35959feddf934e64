"""Stage `preprocess`: one store for configurations that want the same, and only what is missing is made."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from segfw.core.errors import DataError, JobError
from segfw.core.labels import LabelSet
from segfw.core.plan import Configuration, IntensityStatistics, Plan
from segfw.core.plan_yaml import plan_to_yaml
from segfw.core.settings import PlannerSettings
from segfw.data.store import Store
from segfw.stages import preprocess
from segfw.stages.job import Job, prepare
from segfw.stages.preparation import Order
from tests.stages import tiny_dataset

NAMES = ("2d", "3d_fullres", "3d_wide")
STATISTICS = IntensityStatistics(0.0, 0.0, 50.0, -100.0, 100.0, 99.0, -99.0)


def make_plan() -> Plan:
    """Three configurations; the two of three axes see the same data in patches of different size."""
    full = Configuration(
        spacing=(2.0, 0.5, 0.5), patch_size=(4, 4, 4), batch_size=2, median_image_size_in_voxels=(4.0, 5.0, 6.0),
        architecture="unet", features_per_stage=(4, 8), kernel_sizes=((3, 3, 3),) * 2, strides=((1, 1, 1), (2, 2, 2)),
        n_conv_per_stage=(1, 1), n_conv_per_stage_decoder=(1,), normalization_schemes=("ct",),
        use_mask_for_norm=(False,), batch_dice=False,
    )  # fmt: skip
    flat = replace(
        full, spacing=(0.5, 0.5), patch_size=(4, 4), median_image_size_in_voxels=(5.0, 6.0),
        kernel_sizes=((3, 3),) * 2, strides=((1, 1), (2, 2)),
    )  # fmt: skip
    return Plan(
        "tiny", "default", ("CT",), LabelSet({"background": 0, "liver": 1, "tumor": 2}), (2.0, 0.5, 0.5), (4, 5, 6),
        (0, 1, 2), (0, 1, 2), (STATISTICS,),
        {"2d": flat, "3d_fullres": full, "3d_wide": replace(full, patch_size=(4, 4, 6))},
    )  # fmt: skip


@pytest.fixture
def job(tmp_path: Path) -> Job:
    plan_file = tmp_path / "plan.yaml"
    plan_file.write_text(plan_to_yaml(make_plan()))
    folder = tiny_dataset.make(tmp_path / "tiny")
    settings = tiny_dataset.settings_of(folder, tmp_path / "out")
    return prepare(replace(settings, planner=PlannerSettings(plan_file=str(plan_file)), configurations=list(NAMES)))


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Note each case that is read, and the configurations that it is saved for."""
    done: list[tuple[str, list[str]]] = []
    original = preprocess.prepare_case

    def note(plan: Plan, remap: dict[int, int], order: Order) -> None:
        case, stores = order
        done.append((case.name, list(stores)))
        original(plan, remap, order)

    monkeypatch.setattr(preprocess, "prepare_case", note)
    return done


def stores(job: Job) -> list[Path]:
    return sorted((job.workspace.root / "preprocessed").iterdir())


def state(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_configurations_that_want_the_same_share_a_store_and_a_case_is_read_once(job: Job, prepared: list) -> None:
    preprocess.run(job)
    assert [(case, set(names)) for case, names in prepared] == [(c, {"2d", "3d_fullres"}) for c in tiny_dataset.CASES]
    assert [path.name[:2] for path in stores(job)] == ["2d", "3d"]
    assert all(Store.open(path).cases == tiny_dataset.CASES for path in stores(job))
    before = [state(path) for path in stores(job)]
    preprocess.run(job)
    assert len(prepared) == 3
    assert [state(path) for path in stores(job)] == before


def test_the_next_command_does_only_what_failed(job: Job, prepared: list, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = preprocess.prepare_case

    def fail(plan: Plan, remap: dict[int, int], order: Order) -> None:
        if order[0].name == "bob":
            raise DataError("bob is ill")
        noted(plan, remap, order)

    with monkeypatch.context() as patch:
        patch.setattr(preprocess, "prepare_case", fail)
        with pytest.raises(JobError, match="1 of 3 cases failed, the others are done:\n  bob: bob is ill"):
            preprocess.run(job)
    with pytest.raises(Exception, match=r"not complete: it has no manifest\.json"):
        preprocess.require_store(job, "3d_fullres")
    before = {name: time for path in stores(job) for name, time in state(path).items()}
    assert [case for case, _ in prepared] == ["ann", "cyd"]
    preprocess.run(job)
    assert [case for case, _ in prepared] == ["ann", "cyd", "bob"]
    after = {name: time for path in stores(job) for name, time in state(path).items()}
    assert {name: after[name] for name in before} == before
    preprocess.require_store(job, "3d_wide")


def test_a_command_that_was_stopped_loses_the_case_in_hand(
    job: Job, prepared: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = preprocess.prepare_case

    def stop(plan: Plan, remap: dict[int, int], order: Order) -> None:
        if order[0].name == "cyd":
            flat = order[1]["2d"]
            (flat / "cyd.image.npy").write_bytes(b"half")  # as much as a killed process could leave under that name
            raise KeyboardInterrupt
        noted(plan, remap, order)

    with monkeypatch.context() as patch:
        patch.setattr(preprocess, "prepare_case", stop)
        with pytest.raises(KeyboardInterrupt):
            preprocess.run(job)
    preprocess.run(job)
    assert [case for case, _ in prepared] == ["ann", "bob", "cyd"]
    for path in stores(job):
        Store.open(path).check()


def test_a_configuration_more_makes_only_its_store(job: Job, prepared: list) -> None:
    alone = Job(replace(job.settings, configurations=["3d_wide"]), job.workspace, job.record)
    preprocess.run(alone)
    preprocess.run(job)
    assert [names for _, names in prepared] == [["3d_wide"]] * 3 + [["2d"]] * 3


def test_other_raw_data_empty_the_store(job: Job, prepared: list) -> None:
    preprocess.run(job)
    made_from = next(path / preprocess.INPUTS for path in stores(job))
    made_from.write_text(json.dumps({**json.loads(made_from.read_text()), "dataset": "other"}))
    preprocess.run(job)
    assert prepared[3:] == [(case, ["2d"]) for case in tiny_dataset.CASES]
