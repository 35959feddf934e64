"""The confusion of the winner's labels, counted case by case and remembered fold by fold."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segfw.core.errors import ArtefactError, JobError
from segfw.core.labels import LabelSet
from segfw.core.scoring.label_confusion import Pairs, add_pairs, confuse, confusion_of
from segfw.io.formats.readers import read_label
from segfw.stages.executor import run_cases
from segfw.stages.job import Job
from segfw.stages.reporting.remembered import forget_others, keep, recall
from segfw.stages.reporting.winner import SegmentedCase, Winner
from segfw.tracking.confusion_figure import ConfusionOf
from segfw.workspace import digest

log = logging.getLogger(__name__)

ALGORITHM = "1"
BYTES_PER_VOXEL = 16
"""Two label maps, each twice while it is read."""


@dataclass(frozen=True)
class _Counted:
    """(reference value, predicted value, voxels) of a fold's cases together."""

    counts: tuple[tuple[int, int, int], ...]


def winner_confusion(job: Job, winner: Winner | None, folder: Path) -> ConfusionOf | None:
    """Count the winner's confusion over all cases at hand; what was counted before is taken from `folder`."""
    if winner is None:
        return None
    if not winner.cases:
        return ConfusionOf(winner.name, None, 0, winner.shortfall)
    beginning = f"confusion_{job.settings.name}_"
    by_fold = {fold: [c for c in winner.cases if c.fold == fold] for fold in sorted({c.fold for c in winner.cases})}
    paths = {fold: folder / f"{beginning}{digest(_made_from(job, cases))}.json" for fold, cases in by_fold.items()}
    known = {fold: recall(path, _Counted) for fold, path in paths.items()}
    try:
        counted = _count(job, winner.name, {fold: by_fold[fold] for fold, found in known.items() if found is None})
    except JobError as error:
        log.warning("report: without the confusion of labels: %s", error)
        return ConfusionOf(winner.name, None, 0, winner.shortfall)
    for fold, new in counted.items():
        keep(paths[fold], new)
    forget_others(folder, beginning, list(paths.values()))
    total: Pairs = {}
    for found in (*counted.values(), *known.values()):
        total = add_pairs(total, {(i, j): voxels for i, j, voxels in found.counts} if found else {})
    names = {case.case.name for case in winner.cases}
    confusion = confusion_of(total, job.dataset.labels)
    return ConfusionOf(winner.name, confusion, len(names), winner.shortfall, _is_flat(job))


def confuse_case(task: tuple[SegmentedCase, LabelSet, dict[int, int]]) -> Pairs:
    """Count one case: what workers do."""
    segmented, labels, remap = task
    if segmented.case.label is None:
        raise ArtefactError(f"case {segmented.case.name} has no label map to compare with")
    reference = np.asarray(read_label(segmented.case.label, remap).array[0])
    return confuse(reference, segmented.read_prediction(), labels)


def _made_from(job: Job, cases: list[SegmentedCase]) -> list[object]:
    return [ALGORITHM, job.dataset.labels, sorted([case.case.name, case.made_from] for case in cases)]


def _count(job: Job, name: str, by_fold: dict[int, list[SegmentedCase]]) -> dict[int, _Counted]:
    """Count the cases of some folds, all by the same workers."""
    tasks = {
        f"{each.case.name} of fold {fold}": (each, job.dataset.labels, dict(job.dataset.remap))
        for fold, cases in by_fold.items()
        for each in cases
    }
    if not tasks:
        return {}
    found = run_cases(
        confuse_case, tasks, job.settings.executor, f"compare the labels of {name},", _bytes_of_a_case(job)
    )
    totals: dict[int, Pairs] = {fold: {} for fold in by_fold}
    for (each, _, _), pairs in zip(tasks.values(), found.values(), strict=True):
        totals[each.fold] = add_pairs(totals[each.fold], pairs)
    return {
        fold: _Counted(tuple((i, j, voxels) for (i, j), voxels in sorted(total.items())))
        for fold, total in totals.items()
    }


def _is_flat(job: Job) -> bool:
    """Whether every image is one slice, as far as the fingerprint knows."""
    try:
        return all(shape[0] == 1 for shape in job.fingerprint.shapes_after_crop)
    except ArtefactError:
        return False


def _bytes_of_a_case(job: Job) -> float:
    """Estimate by the largest image that the fingerprint knows of; 0 without one."""
    try:
        return float(BYTES_PER_VOXEL * max(math.prod(shape) for shape in job.fingerprint.shapes_after_crop))
    except ArtefactError:
        return 0.0
