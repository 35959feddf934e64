"""Reading what the folder and the lock of a training say, whatever state its files are in. Writes and locks nothing."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from segfw.core.errors import SegfwError
from segfw.core.plan import Plan
from segfw.core.support.conversion import changed_keys, from_plain
from segfw.core.support.files import sha256
from segfw.core.support.locks import owner_of
from segfw.core.support.plain_yaml import load_plain_yaml
from segfw.core.support.words import counted
from segfw.data.case_files import MANIFEST
from segfw.stages.inspection.run_states import RunSigns, few
from segfw.stages.job import Job
from segfw.stages.trainings.failures import load_failure
from segfw.stages.trainings.runs import CONFIG, Done, config_of, load_run, make_run, run_folder
from segfw.stages.trainings.sameness import (
    TRAINING,
    as_given,
    changed_by_edit,
    relevant,
    relevant_there,
    training_hash,
)
from segfw.training.run import (
    CHECKPOINTS,
    DONE,
    ENDING,
    FULL,
    LAST,
    METRICS_JSON,
    NEXT_STAGE,
    PREVIOUS,
    PROGRESS,
    VALIDATION,
    FoldName,
    validated_with,
)
from segfw.training.signs import load_progress
from segfw.workspace import State, Workspace, digest, load_yaml, read_artefact, recorded_inputs, standing

DATASET = "dataset"
"""The key of a run whose data are the raw files, not what a command says."""
CASE_LISTS = re.compile(r"^  (?:train|val)_cases:.*?(?=^ {0,2}[^\s-]|\Z)", re.MULTILINE | re.DOTALL)
"""The lists of cases in a config.yaml."""


class Place(NamedTuple):
    """Where a run lies under runs/: the parts of its folder's path."""

    name: str
    planner: str
    network: str
    configuration: str
    fold: str

    @property
    def candidate(self) -> str:
        """planner/network/configuration."""
        return f"{self.planner}/{self.network}/{self.configuration}"


def runs_on_disk(workspace: Workspace) -> Iterator[tuple[Place, Path]]:
    """Yield every run there is, in the order of names, configurations and folds."""
    for folder in sorted(workspace.runs("").glob("*/*/*/*/fold_*")):
        if folder.is_dir():
            name, planner, network, configuration, fold = folder.parts[-5:]
            yield Place(name, planner, network, configuration, fold.removeprefix("fold_")), folder


def read_signs(workspace: Workspace, folder: Path) -> RunSigns:
    """Read what can be known of a run without the command that it belongs to; damaged files are named."""
    damaged: list[str] = []
    done = failure = progress = None
    try:
        done = _load_done(folder)
    except SegfwError as error:
        damaged.append(_short(error))
    try:
        failure = load_failure(folder)
    except SegfwError as error:
        damaged.append(_short(error))
    try:
        progress = load_progress(folder / PROGRESS)
    except (OSError, ValueError, SegfwError) as error:
        damaged.append(f"{PROGRESS}: {_short(error)}")
    checkpoints = [path for path in (folder / CHECKPOINTS / LAST, folder / CHECKPOINTS / PREVIOUS) if path.exists()]
    begun = (folder / CONFIG).exists()
    noted = ""
    if begun:
        try:
            _check_config(folder)
            noted = "" if done is None else _missing_maps(folder)
        except SegfwError as error:
            damaged.append(_short(error))
    elif checkpoints or done is not None:
        damaged.append(f"{CONFIG} is missing beside a {'checkpoint' if checkpoints else DONE}")
    if done is not None:
        damaged += [f"{name} is missing" for name in _missing(folder)]
    return RunSigns(
        begun=begun,
        saved=checkpoints[0].stat().st_mtime if checkpoints else None,
        done=done,
        owner=owner_of(workspace.lock(f"run {workspace.relative(folder)}")),
        progress=progress,
        failure=failure,
        damaged=tuple(damaged),
        noted=noted,
    )


def compared_with_data(signs: RunSigns, folder: Path, content: str) -> RunSigns:
    """Add whether a run was trained on other data than there are now, `content` being the hash of those."""
    if not signs.begun or signs.damaged:
        return signs
    try:
        found = re.search(r"^dataset: (\S+)$", (folder / CONFIG).read_text(encoding="utf-8"), re.MULTILINE)
    except (OSError, UnicodeDecodeError) as error:
        return replace(signs, damaged=(f"{CONFIG}: {_short(error)}",))
    if found and found[1].strip("'\"") != content:
        return replace(signs, changed=(DATASET,))
    return signs


def compared_with_command(job: Job, signs: RunSigns, configuration: str, fold: FoldName) -> RunSigns:
    """Add what the command asks for that the run does not have: other settings, another previous stage, more epochs."""
    if not signs.begun or signs.damaged:
        return signs
    folder = run_folder(job, configuration, fold)
    try:
        keys = _changed_keys(job, folder, configuration, fold)
        changed = (*(key for key in keys if key == DATASET), *_changed_previous(folder))
    except SegfwError as error:
        return replace(signs, damaged=(_short(error),))
    settings = tuple(as_given(key) for key in keys if key != DATASET)
    lacking = "" if signs.done is None else _lacking(job, signs.done)
    return replace(signs, changed=changed, settings=settings, lacking=lacking)


def edited_plans(job: Job, planners: Iterable[Any]) -> dict[str, Plan]:
    """Return planner -> its plan, of those plans on disk that a person has edited and that can be used."""
    found = {}
    for name in set(planners):
        path = job.workspace.plan(name)
        planner = replace(job.settings.planner, name=name, plan_file=None)
        try:
            if path.exists() and standing(path, recorded_inputs(path)).state is State.EDITED:
                found[name] = replace(job, settings=replace(job.settings, planner=planner)).generated_plan
        except SegfwError:  # told of the plan, not of each run
            continue
    return found


def compared_with_edit(job: Job, signs: RunSigns, folder: Path, plan: Plan | None) -> RunSigns:
    """Add which values of an edited plan, if there is one, the run was not made with, and would be now."""
    if plan is None or not signs.begun or signs.damaged:
        return signs
    path = folder / CONFIG
    try:
        text = CASE_LISTS.sub("", read_artefact(path))  # there may be very many
        keys = [as_given(key) for key in changed_by_edit(job, plan, load_plain_yaml(text), str(path))]
    except (SegfwError, yaml.YAMLError) as error:
        return replace(signs, changed=(*signs.changed, f"the plan, by hand: {_short(error)}"))
    if not keys:
        return signs
    settings = tuple(key for key in signs.settings if key not in keys)
    return replace(signs, changed=(*signs.changed, f"{few(keys)}, by hand in the plan"), settings=settings)


def _load_done(folder: Path) -> Done | None:
    path = folder / DONE
    return from_plain(Done, load_yaml(path), str(path)) if path.exists() else None


def _check_config(folder: Path) -> None:
    """Raise a `SegfwError` for a config.yaml that describes no run; one that nobody touched since is not parsed."""
    path = folder / CONFIG
    if standing(path, recorded_inputs(path)).state is not State.FRESH:
        load_run(folder)


def _missing_maps(folder: Path) -> str:
    """Say how many of the validated cases' segmentations are gone; '' where none is."""
    wanted = [f"{case}{ENDING}" for case in _val_cases(folder)]
    there = set(os.listdir(folder / VALIDATION)) if (folder / VALIDATION).is_dir() else set()
    missing = sum(name not in there for name in wanted)
    verb = "is" if missing == 1 else "are"
    return f"{missing} of {counted(len(wanted), 'segmentation')} {verb} missing" if missing else ""


def _val_cases(folder: Path) -> list[str]:
    """Return the validated cases by config.yaml, of which only these lines are parsed: there may be very many."""
    found = re.search(r"^  val_cases:.*?(?=^ {0,2}[^\s-]|\Z)", read_artefact(folder / CONFIG), re.MULTILINE | re.DOTALL)
    try:
        plain: Any = load_plain_yaml(found[0]) if found else None
    except yaml.YAMLError:
        plain = None
    cases = plain.get("val_cases") if isinstance(plain, dict) else None
    return [str(case) for case in cases] if isinstance(cases, list) else list(load_run(folder).val_cases)


def _missing(folder: Path) -> list[str]:
    files = [f"{CHECKPOINTS}/{LAST}"] + ([] if folder.name == f"fold_{FULL}" else [f"{VALIDATION}/{METRICS_JSON}"])
    return [name for name in files if not (folder / name).exists()]


def _changed_keys(job: Job, folder: Path, configuration: str, fold: FoldName) -> list[str]:
    """Return the keys that make another training of it, by the rule that refuses to mix them under one name."""
    wanted = config_of(job, make_run(job, configuration, fold))
    if standing(folder / CONFIG, {TRAINING: training_hash(wanted)}).state is State.FRESH:
        return []
    return changed_keys(relevant_there(folder), relevant(wanted))


def _changed_previous(folder: Path) -> list[str]:
    """Return the folds of a cascade's first stage that segment the cases otherwise than when this run began."""
    text = (folder / CONFIG).read_text(encoding="utf-8")
    if re.search(r"^  previous: null$", text, re.MULTILINE):
        return []
    content = load_yaml(folder / CONFIG)
    previous = content.get("run", {}).get("previous") if isinstance(content, dict) else None
    if not previous:
        return []
    beside = folder.parent.parent / previous["name"]
    manifests = [beside / Path(path).parent.name / NEXT_STAGE / MANIFEST for path in previous["folders"]]
    noted = zip(manifests, previous["manifests"], strict=True)
    changed = [path.parent.parent.name for path, sha in noted if not path.is_file() or sha256(path) != sha]
    return [f"segmentations by {previous['name']} {', '.join(changed)}"] if changed else []


def _lacking(job: Job, done: Done) -> str:
    """Say what the command would still do with a finished run."""
    schedule, trainer = job.settings.schedule, job.settings.trainer
    if not done.suffices(schedule, trainer):
        asked = trainer.max_time if schedule.horizon == "time" else counted(trainer.max_epochs, "epoch")
        verb = "is" if schedule.horizon != "time" and trainer.max_epochs == 1 else "are"
        return f"{asked} {verb} asked for"
    if done.inference != digest(validated_with(job.settings.inference)):
        return "to be validated anew, inference changed"
    return ""


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
