"""The schema, the checks and the messages of `segfw.config`."""

import dataclasses
import math

import pytest
from omegaconf import OmegaConf

from segfw import config
from segfw.core.errors import UsageError
from segfw.core.settings.choices import parse_configurations, parse_folds, parse_stages
from segfw.core.settings.schema import ExperimentSettings, TaskSettings
from segfw.core.settings.verbs import (
    DownloadSettings,
    EvaluateSettings,
    PredictSettings,
    VerificationSettings,
)

STAGES = ("fingerprint", "plan", "preprocess", "train", "select", "report")


def loaded(**changes):
    """Load the experiment's schema with dotted keys changed (`__` for a dot)."""
    node = config.schema(ExperimentSettings)
    OmegaConf.update(node, "task.name", "Mine")
    for key, value in changes.items():
        OmegaConf.update(node, key.replace("__", "."), value, force_add=True)
    return config.load(ExperimentSettings, node)


@pytest.mark.parametrize("kind", [PredictSettings, EvaluateSettings])
def test_schema_alone_loads_to_the_declared_defaults(kind):
    assert config.load(kind, config.schema(kind)) == kind()


def test_schema_of_the_experiment_loads_to_the_declared_defaults():
    wanted = dataclasses.replace(ExperimentSettings(), task=TaskSettings(name="Mine", folder="Mine"), stages=STAGES)
    assert loaded() == wanted


def test_lists_become_tuples_and_whole_numbers_stay_whole():
    settings = loaded(plan__patch_size=[64, 32, 16], trainer__max_epochs=1e3, plan__kernel_sizes=[[3, 3, 3], [1, 3, 3]])
    assert settings.plan.patch_size == (64, 32, 16)
    assert settings.plan.kernel_sizes == ((3, 3, 3), (1, 3, 3))
    assert settings.trainer.max_epochs == 1000
    assert isinstance(settings.trainer.max_epochs, int)


def test_words_that_look_like_numbers_stay_words():
    assert loaded(name=2024).name == "2024"


def test_two_loads_share_no_container():
    first, second = config.schema(ExperimentSettings), config.schema(ExperimentSettings)
    OmegaConf.update(first, "callbacks.mine", {"_target_": "a.B"}, force_add=True)
    assert second.callbacks == {}


def test_callbacks_and_labels_are_free_form():
    settings = loaded(callbacks__mine={"_target_": "a.B", "depth": 3}, task__labels={"background": 0, "whole": [1, 2]})
    assert settings.callbacks == {"mine": {"_target_": "a.B", "depth": 3}}
    assert settings.task.labels == {"background": 0, "whole": [1, 2]}


def test_a_logger_of_ones_own_may_stand_beside_the_keys_of_logger():
    settings = loaded(logger__mine={"_target_": "a.B", "depth": 3}, logger__own__other={"_target_": "a.C"})
    assert settings.logger.own == {"mine": {"_target_": "a.B", "depth": 3}, "other": {"_target_": "a.C"}}


@pytest.mark.parametrize(
    ("given", "meant"), [(2, 2), ("2", 2), ("auto", "auto"), ([0, 2], (0, 2)), ([1], (1,)), (1.0, 1)]
)
def test_devices_have_three_forms(given, meant):
    assert loaded(trainer__devices=given).trainer.devices == meant


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("trainer__max_epoch", 3, "unknown key 'trainer.max_epoch', did you mean 'trainer.max_epochs'?"),
        ("max_epochs", 3, "unknown key 'max_epochs', did you mean 'trainer.max_epochs'?"),
        ("traner", {"max_epochs": 3}, "unknown key 'traner', did you mean 'trainer'?"),
        ("xyzzy", 3, "unknown key 'xyzzy'"),
        ("logger__projekt", "a", "unknown key 'logger.projekt', did you mean 'logger.project'?"),
        ("logger__wandbb", {"mode": "online"}, "unknown key 'logger.wandbb', did you mean 'logger.wandb'?"),
        ("trainer__max_epochs", 0, "trainer.max_epochs must be at least 1, got 0"),
        ("trainer__max_epochs", "many", "trainer.max_epochs must be an integer, got 'many'"),
        ("trainer__accelerator", "gpus", "trainer.accelerator must be one of .* did you mean 'gpu'?"),
        ("trainer__devices", 0, "trainer.devices must be auto, a number of devices, or a list .* got 0"),
        ("trainer__devices", [1, 1], r"trainer.devices must be auto, .* such as \[0,2\], got \[1, 1\]"),
        ("trainer__devices", "all", "trainer.devices must be auto, .* got 'all'"),
        ("trainer__devices", [-1], r"trainer.devices must be between 1 and 1024, in a list from 0, got \[-1\]"),
        ("trainer__strategy", "fsdp", "trainer.strategy must be one of .*'ddp'"),
        ("inference__step_size", 0, r"inference.step_size must be above 0 and at most 1, got 0"),
        ("inference__step_size", 1.5, "inference.step_size must be above 0 and at most 1, got 1.5"),
        ("optimizer__lr", float("inf"), "optimizer.lr must be above 0, got inf"),
        ("optimizer__lr", float("nan"), "optimizer.lr must be above 0, got nan"),
        ("augmentation__previous_radius_range", [0.5, 8], "previous_radius_range must be at least 1, got"),
        ("augmentation__previous_removal_size", 15, "previous_removal_size must be between 0 and 1, got 15"),
        ("optimizer__name", "adamv", "optimizer.name must be one of .* did you mean 'adam"),
        ("trainer__max_time", "12h", "trainer.max_time must be a time above zero as DD:HH:MM:SS .*got '12h'"),
        ("trainer__ema_half_life", 0, "trainer.ema_half_life must be above 0 and at most 1, got 0"),
        ("trainer__ema_half_life", 1.5, "trainer.ema_half_life must be above 0 and at most 1, got 1.5"),
        ("trainer__accumulate_grad_batches", 0, "trainer.accumulate_grad_batches must be at least 1, got 0"),
        ("trainer__check_val_every_n_epoch", 0, "trainer.check_val_every_n_epoch must be at least 1, got 0"),
        ("trainer__checkpoint_minutes", 0, "trainer.checkpoint_minutes must be above 0, got 0"),
        ("schedule__horizon", "time", "schedule.horizon=time needs a budget, trainer.max_time=DD:HH:MM:SS, got null"),
        ("augmentation__gamma_range", [1.5, 0.7], r"augmentation.gamma_range must be \[low, high\], got \[1.5, 0.7\]"),
        ("augmentation__mirror_axes", [3], "augmentation.mirror_axes must be an axis"),
        ("plan__patch_size", 64, "plan.patch_size must be a list, got 64"),
        ("plan__patch_size", [64, 0, 64], r"plan.patch_size must be at least 1, got \[64, 0, 64\]"),
        ("planner__target_spacing", [1, 1], r"planner.target_spacing needs 3 values in mm, .* got 2: \[1.0, 1.0\]"),
        ("overwrite", "yes", "overwrite must be true or false, got 'yes'"),
        ("name", "../elsewhere", "name names a folder"),
        ("name", "", "name names a folder"),
        ("task__name", "a/b", "task.name names a folder"),
        ("task__md5", "123", "task.md5 must be 32 hexadecimal digits, got '123'"),
        ("sampling__case_weights", {"b.1": 1, "b": -2}, "sampling.case_weights.b must be at least 0, got -2.0"),
        ("sampling__class_weights", {"core": math.nan}, "sampling.class_weights.core must be at least 0, got nan"),
        ("loss__class_weights", {"core": math.inf}, "loss.class_weights.core must be at least 0, got inf"),
        ("trainer__threads", 100_000, "trainer.threads must be between 1 and 1024, got 100000"),
        ("trainer__devices", 100_000, "trainer.devices must be between 1 and 1024, in a list from 0, got 100000"),
        ("data__workers", 100_000, "data.workers must be between 0 and 1024, got 100000"),
        ("executor__address", "HOST:6379", "executor.address=HOST:6379 is of a Ray cluster: give executor=ray, too"),
        ("executor__workers", 100_000, "executor.workers must be between 0 and 1024, got 100000"),
        ("seed", -1, "seed must be between 0 and 4294967295, got -1"),
        ("seed", "${nowhere}", "nowhere"),
    ],
)
def test_wrong_values_are_refused_with_key_value_and_what_is_allowed(key, value, message):
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        loaded(**{key: value})


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (
            {"target_spacing": [1, 1, 1]},
            r"target_spacing=\[1.0, 1.0, 1.0\] would have no effect, since .*=my.yaml",
        ),
        ({"transpose": False}, "planner.transpose=false would have no effect"),
        ({"gpu_memory_gb": 8, "transpose": False}, r"planner.gpu_memory_gb=8.0 planner.transpose=false .*plan.refit="),
    ],
)
def test_what_would_have_no_effect_beside_a_given_plan_is_refused(given, named):
    keys = {f"planner__{key}": value for key, value in given.items()}
    with pytest.raises(UsageError, match=named):
        loaded(planner__plan_file="my.yaml", **keys)
    assert loaded(**keys).planner.plan_file is None


def test_a_memory_target_beside_a_given_plan_refits_the_batch():
    settings = loaded(planner__plan_file="my.yaml", planner__gpu_memory_gb=8, plan__refit=["batch_size"])
    assert settings.planner.gpu_memory_gb == 8
    with pytest.raises(UsageError, match=r"planner.gpu_memory_gb=8.0 would have no effect"):
        loaded(planner__plan_file="my.yaml", planner__gpu_memory_gb=8, plan__refit=["topology"])


def test_a_value_in_the_place_of_a_node_is_refused():
    composed = OmegaConf.create({"task": {"name": "Mine"}, "trainer": 3})
    with pytest.raises(UsageError, match="trainer must be a mapping"):
        config.load(ExperimentSettings, composed)


def test_no_task_says_how_to_give_one():
    with pytest.raises(UsageError, match=r"\+task=.*task\.name=Mine task\.folder=Mine"):
        config.load(ExperimentSettings, config.schema(ExperimentSettings))


@pytest.mark.parametrize(
    ("value", "stages"),
    [
        ("all", STAGES),
        ("plan", ("plan",)),
        (["train", "plan"], ("plan", "train")),
        (["plan", "plan"], ("plan",)),
    ],
)
def test_stages_run_in_their_own_order(value, stages):
    assert parse_stages(value) == stages


@pytest.mark.parametrize("value", [[], "trian", ["plan", "trian"], 3, None])
def test_unknown_stages_are_refused(value):
    with pytest.raises(UsageError, match="stage"):
        parse_stages(value)


def test_configurations_are_auto_or_names():
    assert parse_configurations("auto") == "auto"
    assert parse_configurations("2d") == ("2d",)
    assert parse_configurations(["3d_fullres", "mine", "3d_fullres"]) == ("3d_fullres", "mine")
    for wrong in ([], [2], ["auto", "2d"], None):
        with pytest.raises(UsageError, match="configurations must be auto or names"):
            parse_configurations(wrong)


def test_folds_are_words_or_numbers():
    assert parse_folds("cv", 5) == "cv"
    assert parse_folds("full", 5) == "full"
    assert parse_folds(0, 5) == (0,)
    assert parse_folds(["4", 0, 4], 5) == (4, 0)
    assert parse_folds(9, None) == (9,)


@pytest.mark.parametrize("value", [5, -1, [0, 5], True, "first", [], None, 0.5])
def test_other_folds_are_refused(value):
    with pytest.raises(UsageError, match="folds must"):
        parse_folds(value, 5)


@pytest.mark.parametrize("value", ["all", ["all"]])
def test_folds_all_explains_full(value):
    with pytest.raises(UsageError, match=r"folds=full.*nnU-Net's `all`.*folds=cv"):
        parse_folds(value, 5)


def test_check_key_knows_nodes_leaves_and_free_form_keys():
    for key in ("trainer", "trainer.max_epochs", "callbacks.mine._target_", "task.labels.liver"):
        config.check_key(ExperimentSettings, key)
    for key in ("trainer.max_epochs.x", "nothing", "trainer.nothing"):
        with pytest.raises(UsageError, match="unknown key"):
            config.check_key(ExperimentSettings, key)


def test_a_verb_may_take_a_part_of_a_larger_page():
    node = config.schema(ExperimentSettings)
    OmegaConf.update(node, "task.name", "Mine")
    settings = config.load(DownloadSettings, node, page=ExperimentSettings)
    assert settings == DownloadSettings(task=TaskSettings(name="Mine", folder="Mine"))


def test_every_key_says_what_it_means_and_every_path_is_literal():
    for kind in (ExperimentSettings, PredictSettings, EvaluateSettings, DownloadSettings, VerificationSettings):
        assert all(key.help for key in config.keys(kind))
    literal = {key.dotted for key in config.keys(ExperimentSettings) if key.literal}
    assert {"data_root", "output_root", "task.folder", "planner.plan_file", "split.file"} <= literal
    literal = {key.dotted for key in config.keys(PredictSettings) if key.literal}
    assert literal == {"model", "model_sha256", "model_cache", "input", "data_cache", "output"}
