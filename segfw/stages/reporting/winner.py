"""The cases that the winner has segmented in validation, as far as they are at hand: what the report shows of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segfw.core.cases.dataset import Case
from segfw.core.errors import DataError
from segfw.core.scoring.metrics import CaseMetrics
from segfw.core.scoring.selection_record import SelectionRecord
from segfw.core.types import IntArray
from segfw.io.formats.readers import read_label
from segfw.stages.job import Job
from segfw.stages.selection.competition import winner_of
from segfw.stages.selection.contestants import single_contestants
from segfw.stages.selection.outcomes import folder_name, outcome_of, remembered_scores, segmentation_file
from segfw.stages.trainings.runs import FinishedFold


@dataclass(frozen=True)
class SegmentedCase:
    """A case of the dataset, the fold that validated it, its segmentation and scores, and a hash of both."""

    case: Case
    fold: int
    segmentation: Path
    metrics: CaseMetrics
    made_from: str

    def read_prediction(self) -> IntArray:
        """Return the segmentation `(Z, Y, X)`; `DataError` where the file cannot be read."""
        if self.segmentation.suffix != ".npz":
            return np.asarray(read_label(self.segmentation).array[0])
        try:
            with np.load(self.segmentation, allow_pickle=False) as kept:
                found: IntArray = kept["segmentation"]
                return found
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise DataError(f"{self.segmentation} cannot be read: {error}") from error


@dataclass(frozen=True)
class Winner:
    """What was selected, or before that the first candidate, with all its validated cases, those at hand listed."""

    name: str
    folds: tuple[int, ...]
    scores: tuple[CaseMetrics, ...]
    cases: tuple[SegmentedCase, ...]


def find_winner(job: Job, record: SelectionRecord | None, folds: list[FinishedFold]) -> Winner | None:
    """Return the winner among the finished folds of the command's name; None before any was validated."""
    scored = [fold for fold in folds if fold.scores is not None]
    members = {fold.candidate for fold in scored}
    if not scored:
        return None
    is_there = record is not None and set(record.best.members) <= members
    contestant = winner_of(record, scored) if record and is_there else single_contestants(scored)[0]
    folder = job.workspace.selection(job.settings.name).with_suffix("") / folder_name(contestant)
    cases = {case.name: case for case in job.dataset.cases}
    scores = remembered_scores(job, contestant, folder)
    found = []
    for (fold, name), metrics in scores.items():
        file = segmentation_file(contestant, (fold, name), folder)
        if name in cases and cases[name].label is not None and file.is_file():
            made_from = outcome_of(job, contestant, fold, cases[name])
            found.append(SegmentedCase(cases[name], fold, file, metrics, made_from))
    return Winner(contestant.name, tuple(sorted({fold for fold, _ in scores})), tuple(scores.values()), tuple(found))
