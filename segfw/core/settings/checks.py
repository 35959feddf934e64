"""What the types of the settings cannot say: ranges of numbers, words that are allowed, keys that contradict others."""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from segfw.core.cases.groups import group_regex
from segfw.core.errors import UsageError
from segfw.core.plan import ARCHITECTURES
from segfw.core.scoring.ensembles import parse_ensembles
from segfw.core.settings.addresses import settings_in_cache
from segfw.core.settings.axes_checks import AXES, PER_AXIS, ROWS_PER_AXIS, check_axes
from segfw.core.settings.choices import (
    as_typed,
    parse_configurations,
    parse_devices,
    parse_folds,
    parse_members,
    parse_stages,
    unknown_choice,
)
from segfw.core.settings.loss_checks import check_loss
from segfw.core.settings.number_rules import NUMBER_RULES, WORDS
from segfw.core.settings.optimizer_checks import check_optimizer
from segfw.core.settings.schema import (
    ConfigurationChoice,
    ExecutorSettings,
    ExperimentSettings,
    NetworkSettings,
    PlannerSettings,
    PlanOverrides,
    SplitSettings,
    TaskSettings,
)
from segfw.core.settings.verbs import PredictSettings
from segfw.core.support.conversion import LARGEST_INTEGER, nearest
from segfw.core.support.durations import parse_duration

T = TypeVar("T")


def check_settings(settings: T) -> T:
    """Return `settings` with stages, configurations and folds as values; `UsageError` for what is not allowed."""
    for key, value in _leaves(settings, ""):
        _check_value(key, value)
    task = getattr(settings, "task", None)
    if isinstance(task, TaskSettings):
        task = _checked_task(task)
        settings = dataclasses.replace(settings, task=task)  # type: ignore[type-var]
    settings = settings_in_cache(settings)
    executor = getattr(settings, "executor", None)
    if isinstance(executor, ExecutorSettings) and executor.name == "local" and executor.address is not None:
        raise UsageError(f"executor.address={executor.address} is of a Ray cluster: give executor=ray, too")
    if isinstance(settings, ExperimentSettings):
        _check_folder_name("name", settings.name)
        _check_tags(settings.tags)
        _check_split(settings.split)
        _check_inner_split(settings)
        _check_planner(settings.planner, settings.plan)
        _check_network(settings.network)
        _check_inference(settings)
        check_loss(settings.loss)
        check_optimizer(settings.optimizer, settings.schedule)
        _check_time(settings)
        devices = parse_devices(settings.trainer.devices, "trainer.devices")
        configurations = parse_configurations(settings.configurations)
        _check_axes(settings, configurations)
        number = _known_number_of_folds(settings.split)
        members = parse_members(settings.inference.folds, number)
        return dataclasses.replace(
            settings,
            inference=dataclasses.replace(settings.inference, folds=members),
            trainer=dataclasses.replace(settings.trainer, devices=devices),
            selection=dataclasses.replace(settings.selection, ensembles=parse_ensembles(settings.selection.ensembles)),
            stages=parse_stages(settings.stages),
            configurations=configurations,
            folds=parse_folds(settings.folds, number),
        )
    if isinstance(settings, PredictSettings):
        _check_sha256(settings.model_sha256)
        inference = dataclasses.replace(settings.inference, folds=parse_members(settings.inference.folds))
        devices = parse_devices(settings.devices, "devices")
        return dataclasses.replace(settings, inference=inference, devices=devices)
    return settings


def check_numbers(settings: Any, place: str) -> None:
    """Raise `UsageError` that names the first of the `settings`, those below the key `place`, that is out of range."""
    for key, value in _leaves(settings, f"{place}."):
        _check_value(key, value)


def _leaves(settings: Any, place: str) -> Iterator[tuple[str, Any]]:
    for declared in dataclasses.fields(settings):
        value, key = getattr(settings, declared.name), f"{place}{declared.name}"
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value


def _check_value(key: str, value: Any) -> None:
    words = WORDS.get(key)
    if words and value not in words:
        raise UsageError(f"{key} must be one of {list(words)}, got {value!r}{nearest(str(value), words)}")
    rule = NUMBER_RULES.get(key) or NUMBER_RULES.get(f"{key.split('.')[0]}.*")
    if rule is None:
        return
    holds, allowed = rule
    named = {f"{key}.{name}": item for name, item in value.items()} if isinstance(value, Mapping) else {key: value}
    for place, item in named.items():
        if not all(_is_finite(number) and holds(number) for number in _numbers(item)):
            raise UsageError(f"{place} must be {allowed}, got {as_typed(item)}")
    if key.startswith("augmentation.") and key.endswith("_range") and isinstance(value, tuple) and value[0] > value[1]:
        raise UsageError(f"{key} must be [low, high], got {as_typed(value)}")


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def _is_finite(number: float) -> bool:
    return abs(number) <= LARGEST_INTEGER if isinstance(number, int) else math.isfinite(number)


def _checked_task(task: TaskSettings) -> TaskSettings:
    if not task.name:
        raise UsageError(
            "no task given: name a file of configs/task with +task=, such as +task=Task04, "
            "or describe a folder of your own with task.name=Mine task.folder=Mine"
        )
    _check_folder_name("task.name", task.name)
    if task.md5 is not None and not re.fullmatch(r"[0-9a-fA-F]{32}", task.md5):
        raise UsageError(f"task.md5 must be 32 hexadecimal digits, got {task.md5!r}")
    return dataclasses.replace(task, folder=task.folder or task.name)


def _check_sha256(value: str | None) -> None:
    if value is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise UsageError(f"model_sha256 must be 64 hexadecimal digits, got {value!r}")


def changed_split_keys(split: SplitSettings) -> tuple[str, ...]:
    """Return which keys that make folds have another value than their default; a file makes none."""
    default = SplitSettings()
    keys = (field.name for field in dataclasses.fields(split) if field.name not in ("file", "inner_share"))
    return tuple(key for key in keys if getattr(split, key) != getattr(default, key))


def number_of_folds(split: SplitSettings) -> int | None:
    """Return how many folds there will be, None where a file or the data decide."""
    return None if split.file is not None or split.kind == "leave_one_out" else split.num_folds


def _known_number_of_folds(split: SplitSettings) -> int | None:
    """Return how many there will be, None also where the dataset may bring folds of its own."""
    return number_of_folds(split) if changed_split_keys(split) else None


def _check_split(split: SplitSettings) -> None:
    """Refuse keys of `split.*` that contradict each other."""
    if split.group_pattern is not None and split.group_key is not None:
        raise UsageError(
            "split.group_pattern and split.group_key both name the groups; give one of them, got "
            f"split.group_pattern={split.group_pattern} split.group_key={split.group_key}"
        )
    if split.group_pattern is not None:
        group_regex(split.group_pattern)
    if split.table is not None and split.group_key is None:
        raise UsageError(f"split.table={split.table} needs split.group_key=COLUMN, the column that names the groups")
    if split.file is not None and split.kind != "random":
        raise UsageError(
            f"split.file={split.file} gives the folds as they are, so there is nothing to make by "
            f"split.kind={split.kind}; leave one of them out"
        )


def _check_inner_split(settings: ExperimentSettings) -> None:
    """Refuse to hold cases out of a fold that has every case for training and validates none."""
    if settings.split.inner_share is not None and settings.folds == "full":
        raise UsageError(
            f"split.inner_share={settings.split.inner_share} holds cases out of a fold, got folds=full, which trains "
            "on every case; leave one of them out"
        )


def _check_planner(planner: PlannerSettings, overrides: PlanOverrides) -> None:
    """Refuse a target spacing of other than three axes, and what would have no effect beside a given plan."""
    target = planner.target_spacing
    if target is not None and len(target) != 3:
        raise UsageError(
            f"planner.target_spacing needs 3 values in mm, (Z, Y, X) of the images, got {len(target)}: "
            f"{as_typed(target)}"
        )
    if planner.plan_file is None:
        return
    refits_batch = "batch_size" in overrides.refit
    idle = {
        "planner.gpu_memory_gb": None if refits_batch else planner.gpu_memory_gb,
        "planner.target_spacing": target,
        "planner.transpose": None if planner.transpose else "false",
    }
    given = [f"{key}={as_typed(value)}" for key, value in idle.items() if value is not None]
    if given:
        hint = "; planner.gpu_memory_gb takes plan.refit=[batch_size]" if idle["planner.gpu_memory_gb"] else ""
        raise UsageError(
            f"{' '.join(given)} would have no effect, since planner.plan_file={planner.plan_file} is used as it is; "
            f"leave one of them out{hint}"
        )


def _check_axes(settings: ExperimentSettings, configurations: ConfigurationChoice) -> None:
    """Refuse now, by the names of the configurations, what would be refused when there is a plan of them."""
    if configurations == "auto" or settings.planner.plan_file is not None:  # whose names may mean anything
        return
    for key in (*PER_AXIS, *ROWS_PER_AXIS):
        value = getattr(settings.plan, key)
        if value is not None:
            check_axes(key, value, AXES, configurations, ("2d", "3d_fullres"))


def _check_network(network: NetworkSettings) -> None:
    """Refuse a name that is unknown, and one for an own network that is taken or cannot name a folder."""
    known = ("planned", *ARCHITECTURES)
    if network.target is None:
        if network.name not in known:
            own = " A network of your own needs network._target_=my_package.MyNet"
            raise UsageError(f"{unknown_choice('network', network.name, known)}.{own}")
        return
    if network.name in known:
        raise UsageError(
            f"network._target_={network.target} needs a name of its own for its runs, network.name=mine; "
            f"got {network.name!r}, which is taken"
        )
    if not re.fullmatch(r"[A-Za-z0-9]\w*", network.name, re.ASCII):
        raise UsageError(f"network.name names a folder: letters, digits and _, got {network.name!r}")
    taken = sorted({"topology", "num_channels", "num_outputs"} & set(network.arguments))
    if taken:
        raise UsageError(f"network.arguments must not hold {taken}, which every network is given")


def _check_inference(settings: ExperimentSettings) -> None:
    """Refuse what the chosen network cannot do in prediction."""
    depth, network = settings.inference.depth, settings.network.name
    if depth is not None and network != "unet_plus_plus":
        raise UsageError(f"inference.depth={depth} cuts network=unet_plus_plus, got network={network}")
    if depth is not None and not settings.loss.deep_supervision:
        raise UsageError(
            f"inference.depth={depth} needs loss.deep_supervision=true: only then is the network trained at every depth"
        )


def _check_time(settings: ExperimentSettings) -> None:
    """Refuse a budget of time that cannot be read, and a schedule over time without one."""
    limit = settings.trainer.max_time
    if limit is not None:
        parse_duration(limit, "trainer.max_time")
    if settings.schedule.horizon == "time" and limit is None:
        raise UsageError("schedule.horizon=time needs a budget, trainer.max_time=DD:HH:MM:SS, got null")


def _check_tags(tags: tuple[str, ...]) -> None:
    if len(set(tags)) < len(tags) or not all(tag.strip() and re.fullmatch(r"[^\x00-\x1f,]+", tag) for tag in tags):
        raise UsageError(f"tags must be words such as [baseline,paper], each once, got {list(tags)}")


def _check_folder_name(key: str, value: str) -> None:
    if value != value.strip() or value in ("", ".", "..") or re.search(r"[/\\\x00-\x1f]", value):
        raise UsageError(f"{key} names a folder, so it must be a word without slashes, got {value!r}")
