"""What verb `compare` reads of a run: one fold, or a configuration's finished folds together."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segfw.core.errors import ArtefactError, SegfwError, UsageError
from segfw.core.scoring.metrics import CaseMetrics, Summary, summarize, summary_from_plain
from segfw.core.settings.differences import flatten
from segfw.core.support.conversion import from_plain
from segfw.core.support.files import looked_for
from segfw.core.support.words import counted
from segfw.stages.networks import network_cost
from segfw.stages.trainings.runs import CONFIG, Done, load_run
from segfw.training.run import DONE, METRICS_JSON, VALIDATION
from segfw.workspace import digest, load_json, load_yaml

log = logging.getLogger(__name__)

PLACES = ("dataset", "runs", "name", "planner", "network", "configuration", "fold")
"""What the last parts of a run's path say."""
ALL_FOLDS = "all folds"
OF_A_FOLD = ("fold", "train_cases", "val_cases")


@dataclass(frozen=True)
class ComparedRun:
    """One side of a comparison.

    `dataset`: its name; `content`: a hash of what was trained on, which tells one dataset from another.
    `config`: dotted key -> value; lists of cases as their number and a hash. `cases`: of all `folds`, none where
    nothing was validated. `epochs`: least and most of its folds; `seconds`: of training, all folds together;
    `parameters`: of the network, None where they cannot be counted.
    """

    name: str
    folder: Path
    folds: tuple[str, ...]
    dataset: str
    content: str
    tags: tuple[str, ...]
    config: dict[str, Any]
    cases: tuple[CaseMetrics, ...]
    epochs: tuple[int, int]
    seconds: float
    parameters: int | None

    @property
    def summary(self) -> Summary:
        """The metrics over its own cases."""
        return summarize(self.cases)


def load_runs(paths: Sequence[str]) -> list[ComparedRun]:
    """Read the runs at `paths`, each named by what of its place no other has.

    Raises `UsageError` for a path that is no run, or the same as another; `ArtefactError` for a run without a finished
    fold.
    """
    found = [_folds_at(Path(path)) for path in paths]
    for index, folds in enumerate(found):
        if folds in found[:index]:
            raise UsageError(f"runs: {paths[index]} is named twice")
    names = _names([folds[0] if len(folds) == 1 else folds[0].parent for folds in found])
    return [_load(name, folds) for name, folds in zip(names, found, strict=True)]


def _folds_at(path: Path) -> list[Path]:
    """Return the folders of the folds that `path` means."""
    if not path.is_dir():
        raise UsageError(
            f"runs: there is no folder {looked_for(path)} (a path that has a comma in it is quoted: runs=\"['A,B',C]\")"
        )
    if (path / CONFIG).is_file():
        return [path.absolute()]
    here = sorted(config.parent for config in path.glob(f"fold_*/{CONFIG}"))
    if here:
        return [fold.absolute() for fold in here]
    below = sorted({config.parent.parent for config in path.glob(f"*/*/*/fold_*/{CONFIG}")})
    if len(below) == 1:
        return _folds_at(below[0])
    if below:
        listed = "\n".join(f"  {each}" for each in below)
        raise UsageError(f"runs: {path} holds {len(below)} configurations; name one of them:\n{listed}")
    raise UsageError(
        f"runs: {path} is no run; it must be the folder of a fold (with a {CONFIG}), of a configuration (with fold_*), "
        "or of a variant, runs/NAME, that holds one"
    )


def _names(folders: Sequence[Path]) -> list[str]:
    """Name each folder by the parts of its path in which they differ; by its number besides where that says nothing.

    A configuration beside one of its own folds is `all folds`.
    """
    parts = [_parts(folder) for folder in folders]
    differing = [index for index in range(len(PLACES)) if len({part[index] for part in parts}) > 1]
    names = ["/".join(part[index] for index in differing if part[index]) for part in parts]
    if differing == [len(PLACES) - 1]:
        names = [name or ALL_FOLDS for name in names]
    return [name if name and names.count(name) == 1 else f"{name or 'run'} {n + 1}" for n, name in enumerate(names)]


def _parts(folder: Path) -> list[str]:
    """Return one part for each of `PLACES`, empty where the path has none."""
    parts = [""] * len(PLACES) + list(folder.parts[1:])
    fold = parts.pop() if parts[-1].startswith("fold_") else ""
    return [*parts[1 - len(PLACES) :], fold]


def _load(name: str, folders: Sequence[Path]) -> ComparedRun:
    finished = [folder for folder in folders if (folder / DONE).is_file()]
    if not finished:
        raise ArtefactError(f"{folders[0]} is not finished (no {DONE}), so that there is nothing to compare yet")
    for folder in folders:
        if folder not in finished:
            log.warning("%s is not finished and left out", folder)
    done = [from_plain(Done, load_yaml(folder / DONE), str(folder / DONE)) for folder in finished]
    contents = [_content(folder) for folder in finished]
    run = contents[0]["run"]
    return ComparedRun(
        name=name,
        folder=folders[0] if len(folders) == 1 else folders[0].parent,
        folds=tuple(folder.name.removeprefix("fold_") for folder in finished),
        dataset=str(run.get("plan", {}).get("dataset_name")),
        content=str(contents[0].get("dataset")),
        tags=tuple(map(str, contents[0].get("tags") or ())),
        config=_config(contents),
        cases=tuple(
            case
            for folder, content in zip(finished, contents, strict=True)
            for case in _cases(folder, bool(content["run"].get("val_cases")))
        ),
        epochs=(min(each.epochs for each in done), max(each.epochs for each in done)),
        seconds=sum(each.training_seconds for each in done),
        parameters=_parameters(finished[0]),
    )


def _content(folder: Path) -> dict[str, Any]:
    content = load_yaml(folder / CONFIG)
    if not isinstance(content, dict) or not isinstance(content.get("run"), dict):
        raise ArtefactError(f"{folder / CONFIG} is no configuration of a run: it has no mapping 'run'")
    return content


def _config(contents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the folds have in common, keys as on the command line, and the cases of all of them in few words."""
    run = dict(contents[0]["run"])
    plan, configuration = dict(run.pop("plan", {})), run.get("configuration_name")
    planned = plan.pop("configurations", {}).get(configuration, {})
    shared = {key: value for key, value in run.items() if key not in OF_A_FOLD}
    shared["store"] = Path(str(run.get("store"))).name
    flat = flatten({"callbacks": contents[0].get("callbacks") or {}, "plan": {**plan, **planned}, **shared})
    flat["dataset"] = contents[0].get("dataset")
    flat["folds"] = [content["run"].get("fold") for content in contents]
    for key in OF_A_FOLD[1:]:
        flat[key] = "; ".join(_in_short(content["run"].get(key) or []) for content in contents)
    return flat


def _in_short(cases: list[str]) -> str:
    return f"{counted(len(cases), 'case')} ({digest(cases)[:8]})"


def _cases(folder: Path, validated: bool) -> tuple[CaseMetrics, ...]:
    path = folder / VALIDATION / METRICS_JSON
    if not path.is_file():
        if validated:
            raise ArtefactError(f"{folder} is damaged: it is finished, but {VALIDATION}/{METRICS_JSON} is missing")
        return ()  # of the fold `full`
    try:
        return summary_from_plain(load_json(path)).cases
    except ArtefactError as error:
        raise ArtefactError(f"{path}: {error}") from error


def _parameters(folder: Path) -> int | None:
    """Count the network's parameters; None for one that is code of somebody's, which a run's folder merely names."""
    try:
        run = load_run(folder)
        if run.network.target is not None:
            log.warning(
                "the parameters of %s are not counted: its network is %s, which is code that `compare` does not run",
                folder,
                run.network.target,
            )
            return None
        return network_cost(run.plan, run.configuration, run.network).parameters
    except SegfwError as error:
        log.warning("the parameters of %s cannot be counted: %s", folder, error)
        return None
