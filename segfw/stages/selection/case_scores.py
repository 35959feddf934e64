"""The score of one candidate's segmentation of one case, with or without postprocessing: what workers do for `select`.

A configuration's segmentations are those of its whole-case validation. An ensemble's are averaged from the kept logits
of its members when they are first asked for, and kept beside its scores.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from segfw.core.errors import ArtefactError
from segfw.core.plan import Plan
from segfw.core.scoring.metrics import CaseMetrics, case_metrics
from segfw.core.scoring.postprocessing import Step, apply_steps, secondary_volumes
from segfw.core.support.files import atomic_path
from segfw.core.support.zip_reading import ARRAY_DAMAGE
from segfw.core.types import FloatArray, IntArray, Spacing
from segfw.data.case_files import read_record
from segfw.data.kept_logits import load_logits
from segfw.inference.restoring import LogitMap, restore_ensemble
from segfw.io.formats.readers import read_label

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeptMap:
    """Where the logits of a case lie for one configuration of the plan, and the store that knows its grid."""

    configuration: str
    logits: str
    store: str


@dataclass(frozen=True)
class CaseTask:
    """A case as one candidate segments it, and its reference.

    `segmentation`: file of the validation or, with several `maps`, where the ensemble's is kept once it is made;
    `made_from`: hash by which that is known.
    """

    case: str
    reference: str
    remap: dict[int, int]
    plan: Plan
    segmentation: str
    made_from: str
    maps: tuple[KeptMap, ...]


def score_case(task: tuple[CaseTask, tuple[Step, ...]]) -> CaseMetrics:
    """Return the metrics of a case's segmentation after the steps."""
    case, steps = task
    reference = read_label(case.reference, case.remap)
    segmentation = _postprocessed(case, steps, reference.spacing)
    return case_metrics(case.case, np.asarray(reference.array[0]), segmentation, case.plan.labels)


def measure_components(task: tuple[CaseTask, tuple[Step, ...]]) -> dict[str, FloatArray]:
    """Return, by label, the volumes in mm³ of a segmentation's components but the largest, after the steps."""
    case, steps = task
    spacing = read_label(case.reference, case.remap).spacing
    return secondary_volumes(_postprocessed(case, steps, spacing), case.plan.labels, spacing)


def _postprocessed(case: CaseTask, steps: tuple[Step, ...], spacing: Spacing) -> IntArray:
    segmentation = _ensemble(case) if len(case.maps) > 1 else _validated(case)
    return apply_steps(segmentation, steps, spacing) if steps else segmentation


def _validated(case: CaseTask) -> IntArray:
    """Return the segmentation of a validation, from its logits where the file is gone."""
    path = Path(case.segmentation)
    return np.asarray(read_label(path).array[0]) if path.is_file() else average(case)


def _ensemble(case: CaseTask) -> IntArray:
    """Return the ensemble's segmentation `(Z, Y, X)`, made where it is not kept."""
    path = Path(case.segmentation)
    try:
        with np.load(path, allow_pickle=False) as kept:
            if kept["made_from"].tolist() == [case.made_from]:
                segmentation: IntArray = kept["segmentation"]
                return segmentation
    except FileNotFoundError:
        pass
    except ARRAY_DAMAGE as error:
        log.warning("%s is damaged and made again: %s", path, error)
    segmentation = average(case)
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, segmentation=segmentation, made_from=np.array([case.made_from]))
    return segmentation


def average(case: CaseTask) -> IntArray:
    """Return the segmentation `(Z, Y, X)` of the mean of the members' probabilities, on the image's grid."""
    maps = []
    for kept in case.maps:
        record = read_record(Path(kept.store), case.case).record
        logits = torch.from_numpy(load_logits(Path(kept.logits)))
        if tuple(logits.shape[1:]) != tuple(record.resampled_shape):
            raise ArtefactError(
                f"{kept.logits} has a map of {tuple(logits.shape[1:])} voxels, the case has {record.resampled_shape} "
                f"in {kept.store}; delete the file, and it is made again"
            )
        maps.append(LogitMap(logits, record, case.plan.configuration(kept.configuration)))
    return restore_ensemble(maps, case.plan)
