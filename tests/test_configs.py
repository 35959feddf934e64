"""Every YAML file under configs/ composes to valid settings, and the defaults are those that the settings declare."""

import dataclasses
import re
from pathlib import Path

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra

from segfw import config
from segfw.command_line import VERBS
from segfw.composition import register_schemas
from segfw.config import config_folder
from segfw.core.errors import UsageError
from segfw.core.settings.schema import STAGES, ExperimentSettings, TaskSettings
from segfw.core.settings.training import AugmentationSettings

CONFIGS = Path(__file__).parents[1] / "configs"
GROUPS = (
    *("planner", "network", "augmentation", "loss", "optimizer", "schedule"),
    *("callbacks", "logger", "executor", "experiment", "debug", "hparams_search"),
)
CHOICES = [(group, path.stem) for group in GROUPS for path in sorted((CONFIGS / group).glob("*.yaml"))]
TASKS = ["Demo", *(f"Task{number:02d}" for number in range(1, 11))]  # `init` writes others beside them


def composed(verb, *overrides):
    register_schemas()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        return config.load(VERBS[verb].settings, hydra.compose(verb, list(overrides)), VERBS[verb].page)


def test_the_folder_is_found_beside_the_package():
    assert config_folder() == CONFIGS


def test_the_plain_command_is_the_published_recipe_as_declared():
    task = TaskSettings(name="Mine", folder="Mine")
    declared = dataclasses.replace(ExperimentSettings(), task=task, stages=STAGES)
    assert composed("experiment", "task.name=Mine") == declared
    assert composed("report", "task.name=Mine") == declared


@pytest.mark.parametrize("verb", ["predict", "export", "import", "evaluate", "compare", "init"])
def test_the_page_of_a_verb_repeats_the_declared_defaults(verb):
    assert composed(verb) == VERBS[verb].settings()


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_of_every_group_is_valid(group, choice):
    settings = composed("experiment", "+task=Task04", f"{group}={choice}")
    node = getattr(settings, group, None)
    if hasattr(node, "name"):
        assert node.name == choice


@pytest.mark.parametrize("choice", ["fast", "demo", "smoke"])
def test_a_recipe_names_its_variant_and_the_command_line_has_the_last_word(choice):
    settings = composed("experiment", "+task=Task04", f"experiment={choice}", "trainer.max_epochs=7")
    assert settings.name == choice
    assert settings.trainer.max_epochs == 7
    assert composed("experiment", "+task=Task04", f"experiment={choice}", "name=mine").name == "mine"


def test_fast_is_six_hundred_iterations_of_a_simpler_recipe():
    settings = composed("experiment", "+task=Task04", "experiment=fast")
    assert settings.trainer.max_epochs * settings.trainer.limit_train_batches == 600
    assert (settings.optimizer.name, settings.optimizer.lr, settings.optimizer.weight_decay) == ("adamw", 0.003, 0.01)
    assert (settings.schedule.name, settings.schedule.warmup, settings.schedule.interval) == ("one_cycle", 0.15, "step")
    assert (settings.loss.batch_dice, settings.loss.deep_supervision) == (True, True)
    assert (settings.augmentation.name, settings.augmentation.mirror_axes) == ("light", ())


@pytest.mark.parametrize("choice", ["many", "[wandb,tensorboard,mlflow]"])
def test_several_loggers_at_once(choice):
    logger = composed("experiment", "+task=Task04", f"logger={choice}", "logger.upload=[images]").logger
    assert (logger.wandb, logger.tensorboard, logger.mlflow, logger.upload) == (True, True, True, ("images",))


def test_weights_of_classes_are_a_list_or_a_mapping():
    by_name = composed("experiment", "+task=Task04", "loss.class_weights={Anterior: 2}").loss
    assert (by_name.distribution, by_name.class_weights) == ("ce", {"Anterior": 2})
    in_order = composed("experiment", "+task=Task04", "loss=dice_focal", "loss.class_weights=[0.5, 1, 2]").loss
    assert (in_order.distribution, in_order.class_weights) == ("focal", (0.5, 1, 2))


@pytest.mark.parametrize("limit", ["00:12:00:00", "10:10:10:10"])  # the second is a number in YAML 1.1
def test_a_limit_of_time_needs_no_quotes_on_the_command_line(limit):
    settings = composed("experiment", "+task=Task04", f"trainer.max_time={limit}", "schedule.horizon=time")
    assert settings.trainer.max_time == limit


def test_none_switches_every_transform_off():
    settings = composed("experiment", "+task=Task04", "augmentation=none").augmentation
    probabilities = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings) if "probability" in f.name}
    per_part = ("channel_probability", "label_probability")  # of samples that are changed at all
    assert {name: p for name, p in probabilities.items() if p and not name.endswith(per_part)} == {}
    assert settings.mirror_axes == ()


def test_strong_and_mri_artefacts_add_to_the_published_set():
    plain = AugmentationSettings()
    strong = composed("experiment", "+task=Task04", "augmentation=strong").augmentation
    for key in ("rotation", "offset", "contrast", "gradient", "sharpening", "blank"):
        assert getattr(strong, f"{key}_probability") > getattr(plain, f"{key}_probability")
    artefacts = composed("experiment", "+task=Task04", "augmentation=mri_artefacts").augmentation
    ours = {key: getattr(artefacts, f"{key}_probability") for key in ("bias_field", "motion", "ghosting", "spike")}
    assert all(probability > 0 for probability in ours.values())
    changed = {"name": "default"} | {f"{key}_probability": 0.0 for key in ours}
    assert dataclasses.replace(artefacts, **changed) == plain


@pytest.mark.parametrize(
    ("given", "axes"), [("auto", "auto"), ("null", None), ("[0,2]", (0, 2)), ("[]", ())], ids=lambda value: str(value)
)
def test_axes_to_mirror(given, axes):
    settings = composed("experiment", "+task=Task04", f"augmentation.mirror_axes={given}")
    assert settings.augmentation.mirror_axes == axes


def test_a_word_other_than_auto_is_refused():
    with pytest.raises(UsageError, match=r"augmentation.mirror_axes must be .*'automatic'"):
        composed("experiment", "+task=Task04", "augmentation.mirror_axes=automatic")


@pytest.mark.parametrize("task", TASKS)
def test_a_task_says_what_its_dataset_is_and_can_be_downloaded_with_the_same_words(task):
    settings = composed("experiment", f"+task={task}")
    assert composed("download", f"+task={task}").task == settings.task
    assert settings.task.folder == settings.task.name
    if task == "Demo":
        assert (settings.task.name, settings.task.synthetic) == ("Demo", "phantom")
        return
    assert settings.task.name.startswith(f"{task}_")
    assert settings.task.url.endswith(f"/{settings.task.name}.tar")
    assert re.fullmatch(r"[0-9a-f]{32}", settings.task.md5)
    assert list(settings.task.labels.values()) == list(range(len(settings.task.labels)))
    assert settings.task.labels["background"] == 0
    assert settings.task.modality in {"CT", "MRI"}


def test_there_are_the_ten_tasks_of_the_decathlon_and_the_demo():
    assert set(TASKS) == {"Demo", *(f"Task{number:02d}" for number in range(1, 11))}


def test_the_demo_brings_its_recipe_and_an_explicit_one_wins():
    assert composed("experiment", "+task=Demo").name == "demo"
    assert composed("experiment", "+task=Demo", "experiment=smoke").name == "smoke"
    assert composed("experiment", "experiment=published", "+task=Demo").name == "main"
    assert composed("experiment", "+task=Demo", "optimizer=sgd").optimizer.name == "sgd"


def test_a_task_needs_no_file():
    settings = composed(
        "experiment", "task.name=Mine", "task.folder=/data/mine", "task.labels={background: 0, liver: 1}"
    )
    assert settings.task.labels == {"background": 0, "liver": 1}
    assert settings.task.folder == "/data/mine"


@pytest.mark.parametrize("choice", ["fdr", "overfit", "profile"])
def test_a_debugging_recipe_replaces_its_own_runs_only(choice):
    words = ("experiment", "+task=Demo", "experiment=fast", f"debug={choice}")
    settings = composed(*words)
    assert (settings.name, settings.overwrite, settings.folds) == (f"debug_{choice}", True, (0,))
    assert settings.optimizer.name == "adamw"  # of the recipe that is debugged
    named = composed(*words, "name=main")
    assert (named.name, named.overwrite) == ("main", False)


def test_debugging_has_the_last_word_over_a_recipe_and_the_command_line_over_both():
    overfit = composed("experiment", "+task=Task04", "experiment=fast", "debug=overfit")
    assert (overfit.augmentation.name, overfit.sampling.repeat_batches, overfit.trainer.max_epochs) == ("none", 1, 20)
    assert composed("experiment", "+task=Task04", "debug=overfit", "trainer.max_epochs=3").trainer.max_epochs == 3


def test_recipes_can_be_laid_over_one_another():
    settings = composed("experiment", "+task=Task04", "experiment=[fast,smoke]")
    assert (settings.name, settings.optimizer.name, settings.trainer.max_epochs) == ("smoke", "adamw", 2)


def test_every_recipe_says_what_it_is_for():
    recipes = [path for group in ("experiment", "debug") for path in (CONFIGS / group).glob("*.yaml")]
    heads = [path.read_text(encoding="utf-8").splitlines()[:2] for path in recipes]
    assert [(first, second[:2]) for first, second in heads] == [("# @package _global_", "# ")] * len(recipes)
