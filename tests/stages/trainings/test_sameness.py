"""One name means one set of settings: what counts as a change, and what does not."""

from dataclasses import replace

import yaml

from segfw.core.settings.schema import InferenceSettings
from segfw.core.settings.training import (
    AugmentationSettings,
    DataSettings,
    OptimizerSettings,
    SamplingSettings,
    ScheduleSettings,
    TrainerSettings,
)
from segfw.core.support.conversion import to_plain
from segfw.interop.nnunet import read_plans
from segfw.stages.trainings.sameness import as_given, relevant, relevant_there
from segfw.training.run import FoldRun
from tests.stages.golden import HIPPOCAMPUS

RUN = FoldRun(read_plans(HIPPOCAMPUS / "plans_default.json"), "3d_fullres", 0, ("a", "b"), ("c",), "/one/store_1")


def changed(**changes: object) -> list[str]:
    before = relevant({"dataset": "hash", "run": to_plain(RUN)})
    after = relevant({"dataset": "hash", "run": to_plain(replace(RUN, **changes))})
    return sorted(key for key in {*before, *after} if before.get(key) != after.get(key))


def test_more_epochs_devices_workers_and_windows_continue_a_run():
    assert changed(trainer=TrainerSettings(max_epochs=7, accelerator="cpu", threads=3, compile=True)) == []
    assert changed(trainer=TrainerSettings(devices=(0, 2), num_nodes=2, strategy="ddp")) == []
    assert changed(data=DataSettings(workers=9), inference=InferenceSettings(mirror=False)) == []


def test_who_follows_a_run_makes_no_other_one():
    plain = {"dataset": "hash", "run": to_plain(RUN)}
    assert relevant({**plain, "logger": {"wandb": True}, "command": {"name": "x"}}) == relevant(plain)


def test_axes_that_a_rule_finds_and_where_augmentation_happens_continue_a_run():
    assert changed(mirror_axes=(0, 1), augmentation=AugmentationSettings(device="cpu")) == []
    assert changed(augmentation=AugmentationSettings(mirror_axes="auto")) == ["augmentation.mirror_axes"]


def test_an_inner_split_makes_another_training():
    assert changed(inner_share=0.2) == ["inner_share"]


def test_a_moved_output_folder_continues_a_run():
    assert changed(store="/two/store_1") == []
    assert changed(store="/one/store_2") == ["store"]


def test_changed_keys_are_named():
    assert changed(optimizer=OptimizerSettings(lr=0.5, weight_decay=0.0)) == ["optimizer.lr", "optimizer.weight_decay"]
    assert changed(seed=1, train_cases=("a",)) == ["seed", "train_cases"]
    wider = replace(RUN.configuration, batch_size=3)
    plan = replace(RUN.plan, configurations={**RUN.plan.configurations, "3d_fullres": wider})
    assert changed(plan=plan) == ["plan.configurations.3d_fullres.batch_size"]


def test_planned_values_are_named_as_a_command_line_has_them():
    assert as_given("plan.configurations.3d_fullres.batch_size") == "plan.batch_size (3d_fullres)"
    assert as_given("plan.configurations.2d.resampling.order_z") == "plan.configurations.2d.resampling.order_z"
    assert as_given("plan.labels.values.core") == "plan.labels.values.core"
    assert as_given("optimizer.lr") == "optimizer.lr"


def test_other_data_are_another_training():
    run = to_plain(RUN)
    assert relevant({"dataset": "one", "run": run})["dataset"] != relevant({"dataset": "two", "run": run})["dataset"]


def test_what_only_says_how_long_and_how_safely_continues_a_run():
    trainer = TrainerSettings(max_time="00:01:00:00", checkpoint_minutes=1.0, detect_anomaly=True, profiler="simple")
    assert changed(trainer=trainer) == []


def test_what_shapes_the_training_makes_another():
    trainer = TrainerSettings(accumulate_grad_batches=2, ema_half_life=0.1, check_val_every_n_epoch=5)
    assert changed(trainer=trainer) == [
        "trainer.accumulate_grad_batches",
        "trainer.check_val_every_n_epoch",
        "trainer.ema_half_life",
    ]
    assert changed(sampling=SamplingSettings(repeat_batches=1)) == ["sampling.repeat_batches"]
    timed = ScheduleSettings(horizon="time")
    assert changed(schedule=timed, trainer=TrainerSettings(max_time="00:01:00:00")) == ["schedule.horizon"]


def test_a_run_made_before_a_setting_was_there_had_its_default(tmp_path):
    plain = to_plain(RUN)
    older = {**plain, "loss": {key: value for key, value in plain["loss"].items() if key != "tversky_exponent"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"dataset": "hash", "run": older}))
    assert relevant_there(tmp_path) == relevant({"dataset": "hash", "run": plain})
