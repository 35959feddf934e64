"""The cases that the winner has segmented in validation, as far as they are at hand: what the report shows of it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segfw.core.cases.dataset import Case
from segfw.core.errors import DataError
from segfw.core.scoring.metrics import CaseMetrics
from segfw.core.scoring.selection import Key
from segfw.core.scoring.selection_record import SelectionRecord
from segfw.core.support.zip_reading import ARRAY_DAMAGE
from segfw.core.types import IntArray
from segfw.io.formats.readers import read_label
from segfw.stages.job import Job
from segfw.stages.selection.competition import winner_of
from segfw.stages.selection.contestants import single_contestants
from segfw.stages.selection.outcomes import folder_name, outcome_of, remembered_scores, segmentation_file
from segfw.stages.trainings.runs import FinishedFold

log = logging.getLogger(__name__)

NO_FILE = "its segmentation is missing"
NO_CASE = "it is not in the dataset any more"
NO_LABEL = "it has no label map any more"
MOST_NAMED = 10


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
        except ARRAY_DAMAGE as error:
            raise DataError(f"{self.segmentation} cannot be read: {error}") from error


@dataclass(frozen=True)
class Winner:
    """What was selected, or before that the first candidate, with the scores of all its validated cases.

    `cases`: those at hand; `absent`: why each of the others is not.
    """

    name: str
    folds: tuple[int, ...]
    scores: Mapping[Key, CaseMetrics]
    cases: tuple[SegmentedCase, ...]
    absent: Mapping[Key, str] = field(default_factory=dict)

    @property
    def shortfall(self) -> tuple[str, ...]:
        """Sentences on how many of the validated cases are not at hand."""
        counts = {reason: list(self.absent.values()).count(reason) for reason in dict.fromkeys(self.absent.values())}
        said = []
        for reason, count in counts.items():
            verb, of_all = "is" if count == 1 else "are", f"{count} of {len(self.scores)}"
            if reason == NO_FILE:
                said.append(f"{of_all} segmentations {verb} missing.")
            else:
                lost = "in the dataset" if reason == NO_CASE else "with a label map"
                said.append(f"{of_all} validated cases {verb} no longer {lost}.")
        return tuple(said)


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
    found, absent = [], {}
    for (fold, name), metrics in scores.items():
        file = segmentation_file(contestant, (fold, name), folder)
        if name not in cases:
            absent[fold, name] = NO_CASE
        elif cases[name].label is None:
            absent[fold, name] = NO_LABEL
        elif not file.is_file():
            absent[fold, name] = NO_FILE
        else:
            made_from = outcome_of(job, contestant, fold, cases[name])
            found.append(SegmentedCase(cases[name], fold, file, metrics, made_from))
    winner = Winner(contestant.name, tuple(sorted({fold for fold, _ in scores})), scores, tuple(found), absent)
    _warn(winner)
    return winner


def _warn(winner: Winner) -> None:
    if winner.absent:
        named = ", ".join(f"{name} of fold {fold}" for fold, name in list(winner.absent)[:MOST_NAMED])
        more = len(winner.absent) - MOST_NAMED
        log.warning(
            "report: of %s, %s (%s%s)",
            winner.name,
            " ".join(winner.shortfall).rstrip("."),
            named,
            f" and {more} more" if more > 0 else "",
        )
