"""What is left of a sweep for people: the best trial as a command and as an experiment file, and a table of trials."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from segfw.core.support.files import write_text
from segfw.core.support.strict_yaml import dump_yaml
from segfw.sweeps.settings import file_name, groups_of
from segfw.sweeps.space import Space, Value, written
from segfw.sweeps.study import Study, Trial

OF_THE_SEARCH = ("hparams_search", "name", "stages", "folds", "split.inner_share")
"""Keys that say how trials are run: the final training has them as they are without a search."""
OF_THE_PLACE = ("experiment", "task", "data_root", "output_root")
"""Keys that an experiment file leaves to whoever uses it; the recipe is included under its name."""
RESULTS = "optimization_results.yaml"


@dataclass(frozen=True)
class Best:
    """The best trial for use: its `command`, the choice `experiment=`, the file that is this choice, and a hint."""

    command: str
    experiment: str
    file: Path
    note: str


def best_command(words: Sequence[str], space: Space, values: Mapping[str, Value], name: str) -> str:
    """Return the shell command that trains with `values` what the sweep of the command line `words` has searched."""
    dropped = {*OF_THE_SEARCH, *space.dimensions}
    kept = [word for word in words if word not in ("-m", "--multirun") and not _is_about(word, dropped)]
    drawn = [f"{space.spelt[key]}={written(value)}" for key, value in values.items()]
    return shlex.join(["python", "-m", "segfw", *kept, *drawn, f"name={name}"])


def best_experiment(
    loader: ConfigLoader, space: Space, best: Mapping[str, Value], config: Any, name: str, comment: str
) -> str:
    """Return an experiment file that gives the settings of a trial: the recipe it began with, and its changes."""
    parser, known = OverridesParser.create(config_loader=loader), groups_of(loader, config)
    drawn = parser.parse_overrides([f"{space.spelt[key]}={written(value)}" for key, value in best.items()])
    groups: list[dict[str, Any]] = []
    changed: dict[str, Any] = {"name": name}
    lost: list[str] = []
    for override in (*space.fixed, *drawn):
        key = override.key_or_group
        if key in (*OF_THE_SEARCH, *OF_THE_PLACE) or key.startswith("task."):
            continue
        if override.is_delete():
            lost.append(str(override.input_line))
        elif key in known:
            groups.append(_choice(override))
        else:
            _put(changed, key.split("."), override.value())
    comment += "".join(f"\nNot held here, give it as well: {line}" for line in lost)
    head = "".join(f"# {line}\n" for line in ("@package _global_", *comment.splitlines()))
    recipe = config.hydra.runtime.choices.get("experiment")
    defaults: list[Any] = [*([recipe] if recipe else []), "_self_", *groups]
    return head + dump_yaml({"defaults": defaults, **changed})


def keep_best(study: Study, best: Trial, space: Space, config: Any, words: Sequence[str], loader: ConfigLoader) -> Best:
    """Save the best trial as experiment/best_<study>.yaml beside the study, and in ./configs.

    The study's folder is a folder of YAML files for --config-dir. A file in ./configs that is not the sweep's own of
    before is left alone; so is a ./configs that is the program's.
    """
    experiment = f"best_{file_name(study.name)}"
    name = f"{config.name}_best"
    comment = f"The best of {len(study.finished)} finished trials of the study {study.name}: {best.score:.4f}."
    text = best_experiment(loader, space, best.values, config, name, comment)
    folder = study.path.parent / file_name(study.name)
    file, before = folder / "experiment" / f"{experiment}.yaml", ""
    if file.exists():
        before = file.read_text(encoding="utf-8")
    write_text(file, text)
    command = best_command(words, space, best.values, name)
    beside = Path.cwd() / "configs" / "experiment" / file.name
    if _is_of_the_program(beside.parents[1], config):
        return Best(command, experiment, file, f"it needs --config-dir={shlex.quote(str(folder))}")
    if beside.exists() and beside.read_text(encoding="utf-8") not in (before, text):
        return Best(
            command, experiment, file, f"{beside} is not of this sweep and was left alone; this one's is {file}"
        )
    write_text(beside, text)
    return Best(command, experiment, beside, f"it is {beside}")


def write_results(folder: Path, study: Study, best: Trial, kept: Best) -> Path:
    """Write what Hydra's users look for, optimization_results.yaml, into the folder of the sweep; return its path."""
    trials = study.trials
    states = Counter(trial.state for trial in trials)
    content = {
        "name": "optuna",
        "best_params": dict(best.values),
        "best_value": best.score,
        "best_trial": best.number,
        "direction": study.direction,
        "study_name": study.name,
        "storage": str(study.path),
        "trials": {state: states[state] for state in ("finished", "failed", "running")},
        "command": kept.command,
        "experiment": str(kept.file),
        "all_trials": [
            {"number": trial.number, "state": trial.state, "value": trial.score, "params": dict(trial.values)}
            | ({"reason": trial.reason} if trial.reason else {})
            for trial in trials
        ],
    }
    path = folder / RESULTS
    write_text(path, dump_yaml(content))
    return path


def _is_about(word: str, keys: set[str]) -> bool:
    key = word.partition("=")[0].lstrip("+~")
    return key in keys or (key.startswith(("hydra.", "hydra/")) and key != "hydra.searchpath")


def _choice(override: Override) -> dict[str, Any]:
    """Return the entry of a defaults list that chooses what `override` does."""
    replaces = "" if override.is_add() or override.is_force_add() else "override "
    return {f"{replaces}/{override.key_or_group}": override.value()}


def _put(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    *parents, last = path
    for name in parents:
        tree = tree.setdefault(name, {})
    tree[last] = value


def _is_of_the_program(folder: Path, config: Any) -> bool:
    """Whether `folder` is the program's own folder of YAML files, as where it is run from a checkout."""
    own = [source.path for source in config.hydra.runtime.config_sources if source.provider == "main"]
    return folder.resolve() in [Path(path).resolve() for path in own]
