"""The whole-case metrics of candidates under any postprocessing, each case scored once and remembered on disk.

selection/<name>/<candidate>/scores.json                             fold, case, made from what, after which steps
selection/<name>/<candidate>/segmentations/fold_<k>/<case>.npz  of an ensemble
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from segfw.core.cases.dataset import Case
from segfw.core.errors import DataError, UsageError
from segfw.core.labels import LabelSet
from segfw.core.scoring.metrics import CaseMetrics, Counts
from segfw.core.scoring.postprocessing import Step, name_of
from segfw.core.scoring.selection import Candidate, Key
from segfw.core.support.conversion import from_plain, to_plain
from segfw.core.support.files import write_text
from segfw.core.types import FloatArray
from segfw.data.kept_logits import logits_path
from segfw.stages.executor import run_cases
from segfw.stages.job import Job
from segfw.stages.selection.case_scores import CaseTask, KeptMap, measure_components, score_case
from segfw.stages.selection.contestants import Contestant
from segfw.stages.selection.missing_logits import MissingLogits
from segfw.stages.trainings.cascade import joint_plan
from segfw.stages.trainings.runs import FinishedFold
from segfw.training.run import ENDING, VALIDATION
from segfw.workspace import digest

SCORES = "scores.json"
LONGEST_NAME = 100
LOGITS_TO_MEMORY = 4.0
"""Of a case: memory by the size of its files, which hold two thirds of the logits, of which parts are copied."""
Steps = tuple[Step, ...]
R = TypeVar("R")


@dataclass(frozen=True)
class _Remembered:
    """One case's counts by label: true and false positives, false and true negatives."""

    fold: int
    case: str
    made_from: str
    steps: str
    labels: dict[str, tuple[int, int, int, int]]


class Outcomes:
    """What one contestant reaches, case by case."""

    def __init__(self, job: Job, contestant: Contestant, folder: Path, missing: MissingLogits) -> None:
        self.contestant = contestant
        self._job = job
        self._missing = missing
        self._passes = 0
        self._volumes: dict[Steps, dict[str, FloatArray]] = {}
        self._folder = folder / folder_name(contestant)
        self._cases = {case.name: case for case in job.dataset.cases}
        self.in_dataset = [key for key in contestant.keys if key[1] in self._cases]
        self._made_from = {key: self._hash(key) for key in contestant.keys}
        self._known = {
            (entry.fold, entry.case, entry.made_from, entry.steps): entry for entry in _load(self._folder / SCORES)
        }
        for key, metrics in _validated(contestant).items():
            self._remember(key, (), metrics)

    def candidate(self, steps: Steps = (), keys: Iterable[Key] | None = None) -> Candidate:
        """Return the contestant's metrics after `steps`, of `keys` or of all its cases.

        All: those that the dataset still has, as far as they have to be read, which is so for all but what a single
        configuration's validation has scored.
        """
        own = self._made_from if len(self.contestant.members) == 1 and not steps else self.in_dataset
        chosen = None if keys is None else set(keys)
        wanted = [key for key in own if chosen is None or key in chosen]
        self._score([key for key in wanted if self._entry(key, steps) not in self._known], steps)
        by_fold: dict[int, list[CaseMetrics]] = {}
        for key in wanted:
            entry = self._known[self._entry(key, steps)]
            counts = {label: Counts(*numbers) for label, numbers in entry.labels.items()}
            by_fold.setdefault(key[0], []).append(CaseMetrics(entry.case, counts))
        held = {fold: tuple(cases) for fold, cases in by_fold.items()}
        return Candidate(self.contestant.name, self.contestant.members, held)

    def volumes(self, steps: Steps) -> dict[str, FloatArray]:
        """Return, by label, the volumes in mm³ of the components but the largest, of all cases together, after `steps`.

        Remembered for this object only: there may be thousands in a case.
        """
        if steps not in self._volumes:
            of_cases = self._run(measure_components, self.in_dataset, steps, "measure components of").values()
            labels = dict.fromkeys(label for volumes in of_cases for label in volumes)
            self._volumes[steps] = {label: np.concatenate([each[label] for each in of_cases]) for label in labels}
        return self._volumes[steps]

    def _score(self, keys: Sequence[Key], steps: Steps) -> None:
        if not keys:
            return
        for key, metrics in self._run(score_case, keys, steps, "postprocess" if steps else "score").items():
            self._remember(key, steps, metrics)
        write_text(self._folder / SCORES, json.dumps([to_plain(entry) for entry in self._known.values()]))

    def _run(
        self, function: Callable[[tuple[CaseTask, Steps]], R], keys: Sequence[Key], steps: Steps, doing: str
    ) -> dict[Key, R]:
        """Let workers do cases."""
        if not keys:
            return {}
        tasks = {f"{case} of fold {fold}": (self._task((fold, case)), steps) for fold, case in keys}
        self._complete_logits(keys)
        self._passes += 1
        labels = self.contestant.all_folds[0].run.plan.labels
        title = f"{doing} {self.contestant.name}, pass {self._passes}{examined(steps, labels)}"
        found = run_cases(function, tasks, self._job.settings.executor, title, _bytes_of(tasks.values()))
        return dict(zip(keys, found.values(), strict=True))

    def _remember(self, key: Key, steps: Steps, metrics: CaseMetrics) -> None:
        counts = {label: (c.tp, c.fp, c.fn, c.tn) for label, c in metrics.labels.items()}
        fold, case, made_from, after = self._entry(key, steps)
        self._known[fold, case, made_from, after] = _Remembered(fold, case, made_from, after, counts)

    def _entry(self, key: Key, steps: Steps) -> tuple[int, str, str, str]:
        return *key, self._made_from[key], digest(steps) if steps else ""

    def _hash(self, key: Key) -> str:
        return outcome_of(self._job, self.contestant, key[0], self._cases.get(key[1]))

    def _task(self, key: Key) -> CaseTask:
        number, name = key
        folds, case = _folds_of(self.contestant, number), self._cases[name]
        if case.label is None:
            raise DataError(f"case {name}: has no label map to compare with")
        remap, made_from = dict(self._job.dataset.remap), self._made_from[key]
        plan, maps = joint_plan([fold.run for fold in folds]), tuple(_kept(fold, name) for fold in folds)
        return CaseTask(name, case.label, remap, plan, str(self._segmentation(key)), made_from, maps)

    def _segmentation(self, key: Key) -> Path:
        return segmentation_file(self.contestant, key, self._folder)

    def _complete_logits(self, keys: Sequence[Key]) -> None:
        """Let the logits be there of cases whose segmentation is not."""
        lacking = [key for key in keys if not self._segmentation(key).is_file()]
        for number in dict.fromkeys(fold for fold, _ in lacking):
            for fold in _folds_of(self.contestant, number):
                self._missing.complete(fold, [case for of_fold, case in lacking if of_fold == number])


def examined(steps: Steps, labels: LabelSet) -> str:
    """Say in a few words which steps a pass over the cases applies: how many, and the last; nothing without any."""
    if not steps:
        return ""
    last = steps[-1]
    bound = f" < {last.minimum_mm3:g} mm³" if last.operation == "remove_small" else ""
    told = f"{last.operation.replace('_', ' ')}: {name_of(last.values, labels)}{bound}"
    return f" ({told})" if len(steps) == 1 else f" ({len(steps)} steps, the last {told})"


def outcome_of(job: Job, contestant: Contestant, fold: int, case: Case | None) -> str:
    """Return a hash of what a case's segmentation and its scores were made from; None: no longer in the dataset."""
    weights = [[each.done.weights, each.done.inference] for each in _folds_of(contestant, fold)]
    return digest([weights, job.record.content_of(case) if case else None])


def segmentation_file(contestant: Contestant, key: Key, folder: Path) -> Path:
    """Where a case's segmentation lies: of a validation or, of an ensemble, below the `folder` of its scores."""
    number, name = key
    if len(contestant.members) == 1:
        return _folds_of(contestant, number)[0].folder / VALIDATION / f"{name}{ENDING}"
    return folder / "segmentations" / f"fold_{number}" / f"{name}.npz"


def remembered_scores(job: Job, contestant: Contestant, folder: Path) -> dict[Key, CaseMetrics]:
    """Return what a contestant reached before postprocessing, as far as it is on disk and of what is there now.

    `folder`: of its scores. Nothing is computed.
    """
    if len(contestant.members) == 1:
        return dict(_validated(contestant))
    cases, keys = {case.name: case for case in job.dataset.cases}, set(contestant.keys)
    found = {}
    for entry in _load(folder / SCORES):
        if (entry.fold, entry.case) in keys and not entry.steps:
            made_from = outcome_of(job, contestant, entry.fold, cases.get(entry.case))
            if entry.made_from == made_from:
                counts = {label: Counts(*numbers) for label, numbers in entry.labels.items()}
                found[entry.fold, entry.case] = CaseMetrics(entry.case, counts)
    return found


def _folds_of(contestant: Contestant, number: int) -> list[FinishedFold]:
    """Return the fold of each member."""
    return [next(fold for fold in folds if fold.run.fold == number) for folds in contestant.folds.values()]


def folder_name(contestant: Contestant) -> str:
    """Return the name of the folder in which a contestant's scores are kept."""
    name = contestant.name.replace("/", "_").replace(" ", "")
    return name if len(name) <= LONGEST_NAME else f"{len(contestant.members)}_of_{digest(name)}"


def _kept(fold: FinishedFold, case: str) -> KeptMap:
    return KeptMap(fold.run.configuration_name, str(logits_path(fold.folder / VALIDATION, case)), fold.run.store)


def _validated(contestant: Contestant) -> Mapping[Key, CaseMetrics]:
    """Return what the folds of a single configuration reached in their validation; nothing of an ensemble."""
    if len(contestant.members) > 1:
        return {}
    of_folds = {fold.run.fold: fold.scores.cases for fold in contestant.all_folds if fold.scores}
    return {(fold, case.case): case for fold, cases in of_folds.items() if isinstance(fold, int) for case in cases}


def _bytes_of(tasks: Iterable[tuple[CaseTask, Steps]]) -> float:
    files = [[Path(kept.logits) for kept in task.maps] for task, _ in tasks]
    return LOGITS_TO_MEMORY * max(sum(path.stat().st_size for path in paths if path.is_file()) for paths in files)


def _load(path: Path) -> list[_Remembered]:
    """Return what was scored before; nothing where the file is missing or damaged: it is scored again then."""
    try:
        plain: Any = json.loads(path.read_text(encoding="utf-8"))
        return [from_plain(_Remembered, entry) for entry in plain]
    except (OSError, ValueError, TypeError, UsageError):
        return []
