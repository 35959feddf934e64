"""One name means one set of settings: what counts as a change, and what does not."""

from dataclasses import replace

from segfw.core.conversion import to_plain
from segfw.core.settings import InferenceSettings
from segfw.core.training_settings import AugmentationSettings, DataSettings, OptimizerSettings, TrainerSettings
from segfw.interop.nnunet import read_plans
from segfw.stages.runs import relevant
from segfw.training.run import FoldRun
from tests.stages.golden import HIPPOCAMPUS

RUN = FoldRun(read_plans(HIPPOCAMPUS / "plans_default.json"), "3d_fullres", 0, ("a", "b"), ("c",), "/one/store_1")


def changed(**changes: object) -> list[str]:
    before = relevant({"dataset": "hash", "run": to_plain(RUN)})
    after = relevant({"dataset": "hash", "run": to_plain(replace(RUN, **changes))})
    return sorted(key for key in {*before, *after} if before.get(key) != after.get(key))


def test_more_epochs_devices_workers_and_windows_continue_a_run():
    assert changed(trainer=TrainerSettings(max_epochs=7, accelerator="cpu", threads=3, compile=True)) == []
    assert changed(data=DataSettings(workers=9), inference=InferenceSettings(mirror=False)) == []


def test_axes_that_a_rule_finds_and_where_augmentation_happens_continue_a_run():
    assert changed(mirror_axes=(0, 1), augmentation=AugmentationSettings(device="cpu")) == []
    assert changed(augmentation=AugmentationSettings(mirror_axes="auto")) == ["augmentation.mirror_axes"]


def test_a_moved_output_folder_continues_a_run():
    assert changed(store="/two/store_1") == []
    assert changed(store="/one/store_2") == ["store"]


def test_changed_keys_are_named():
    assert changed(optimizer=OptimizerSettings(lr=0.5, weight_decay=0.0)) == ["optimizer.lr", "optimizer.weight_decay"]
    assert changed(seed=1, train_cases=("a",)) == ["seed", "train_cases"]
    wider = replace(RUN.configuration, batch_size=3)
    plan = replace(RUN.plan, configurations={**RUN.plan.configurations, "3d_fullres": wider})
    assert changed(plan=plan) == ["plan.configurations.3d_fullres.batch_size"]


def test_other_data_are_another_training():
    run = to_plain(RUN)
    assert relevant({"dataset": "one", "run": run})["dataset"] != relevant({"dataset": "two", "run": run})["dataset"]
