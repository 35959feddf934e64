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
from segfw.stages.remembered import forget_others, remembered
from segfw.stages.report_winner import SegmentedCase, Winner
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
    if winner is None or not winner.cases:
        return None
    total: Pairs = {}
    kept = []
    beginning = f"confusion_{job.settings.name}_"
    try:
        for fold in sorted({case.fold for case in winner.cases}):
            cases = [case for case in winner.cases if case.fold == fold]
            made_from = [ALGORITHM, job.dataset.labels, *sorted([c.case.name, c.made_from] for c in cases)]
            path = folder / f"{beginning}{digest(made_from)}.json"
            counted = remembered(path, _Counted, lambda cases=cases, fold=fold: _count(job, winner.name, fold, cases))
            total = add_pairs(total, {(i, j): voxels for i, j, voxels in counted.counts})
            kept.append(path)
    except JobError as error:
        log.warning("report: without the confusion of labels: %s", error)
        return ConfusionOf(winner.name, None, 0)
    forget_others(folder, beginning, kept)
    names = {case.case.name for case in winner.cases}
    return ConfusionOf(winner.name, confusion_of(total, job.dataset.labels), len(names))


def confuse_case(task: tuple[SegmentedCase, LabelSet, dict[int, int]]) -> Pairs:
    """Count one case: what workers do."""
    segmented, labels, remap = task
    if segmented.case.label is None:
        raise ArtefactError(f"case {segmented.case.name} has no label map to compare with")
    reference = np.asarray(read_label(segmented.case.label, remap).array[0])
    return confuse(reference, segmented.read_prediction(), labels)


def _count(job: Job, name: str, fold: int, cases: list[SegmentedCase]) -> _Counted:
    tasks = {each.case.name: (each, job.dataset.labels, dict(job.dataset.remap)) for each in cases}
    title = f"compare the labels of {name}, fold {fold},"
    found = run_cases(confuse_case, tasks, job.settings.executor.workers, title, _bytes_of_a_case(job))
    total: Pairs = {}
    for pairs in found.values():
        total = add_pairs(total, pairs)
    return _Counted(tuple((i, j, voxels) for (i, j), voxels in sorted(total.items())))


def _bytes_of_a_case(job: Job) -> float:
    """Estimate by the largest image that the fingerprint knows of; 0 without one."""
    try:
        return float(BYTES_PER_VOXEL * max(math.prod(shape) for shape in job.fingerprint.shapes_after_crop))
    except ArtefactError:
        return 0.0
