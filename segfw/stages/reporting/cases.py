"""The cases that the report's viewer shows: chosen by score, read one at a time, and remembered as pictures."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from segfw.core.errors import DataError, SegfwError
from segfw.core.imaging.slices import View, view_across, window_of
from segfw.core.plan import Plan
from segfw.core.scoring.case_choice import choose_cases
from segfw.core.scoring.metrics import case_dice
from segfw.core.scoring.selection import Key
from segfw.core.types import FloatArray, Volume
from segfw.io.formats.endings import NATURAL_ENDINGS, TIFF_ENDINGS, ending_of, is_known
from segfw.io.formats.readers import read_image, read_label
from segfw.stages.job import Job
from segfw.stages.reporting.remembered import forget_others, remembered
from segfw.stages.reporting.winner import NO_FILE, SegmentedCase, Winner
from segfw.tracking.case_pictures import MOST_CHANNELS, CaseMaps, Channel, Pictures, make_pictures
from segfw.tracking.viewer import MOST_BYTES, ViewedCase
from segfw.workspace import digest

log = logging.getLogger(__name__)

ALGORITHM = "1"
COLORS = (("r", "g", "b"), ("red", "green", "blue"))
MM3_PER_ML = 1000.0


@dataclass(frozen=True)
class Viewed:
    """The cases that are shown, and sentences on those that should be and cannot."""

    cases: tuple[ViewedCase, ...] = ()
    notes: tuple[str, ...] = ()


def viewed_cases(job: Job, plan: Plan | None, winner: Winner | None, folder: Path) -> Viewed:
    """Return the worst, the best and the cases between, from the winner's out-of-fold segmentations.

    They are chosen by the scores of all validated cases; one that is not at hand or cannot be read is named, and no
    other takes its place. Pictures that were made before are taken from `folder`.
    """
    if winner is None:
        return Viewed()
    scores = {key: case_dice(metrics) for key, metrics in winner.scores.items()}
    at_hand = {(case.fold, case.case.name): case for case in winner.cases}
    chosen = choose_cases(scores)
    beginning, viewed = f"case_{job.settings.name}_", []
    kept: list[Path] = []
    notes = list(winner.shortfall)
    for role, key in chosen.items():
        if key not in at_hand:
            notes.append(_not_shown(role, key, scores[key], winner.absent.get(key, NO_FILE)))
            continue
        case, share = at_hand[key], MOST_BYTES // len(chosen)
        made_from = [
            ALGORITHM,
            case.made_from,
            share,
            plan and [plan.transpose_forward, plan.intensities, _schemes(plan)],
        ]
        kept.append(folder / f"{beginning}{digest(made_from)}.json")
        try:
            pictures = remembered(kept[-1], Pictures, partial(_draw, job, plan, case, share))
        except SegfwError as error:
            log.warning("report: without the pictures of case %s: %s", case.case.name, error)
            notes.append(_not_shown(role, key, scores[key], "it cannot be read (see the log)"))
        else:
            viewed.append(_viewed(case, role, pictures))
    forget_others(folder, beginning, kept)
    return Viewed(tuple(viewed), tuple(notes))


def choose_channels(image: FloatArray, names: Sequence[str], plan: Plan | None) -> list[Channel]:
    """Return what is shown of an image `(C, Z, Y, X)`: three colors as one, any other channel in grey.

    Intensities go from black to white as the plan clips them (CT), else between the image's percentiles.
    """
    if tuple(name.casefold() for name in names) in COLORS and len(image) == len(names):
        return [Channel("color", (0, 1, 2), *window_of(image))]
    channels = []
    for index, name in enumerate(names[: min(MOST_CHANNELS, len(image))]):
        is_ct = plan is not None and all(schemes[index] == "ct" for schemes in _schemes(plan))
        if plan is not None and is_ct:
            window = plan.intensities[index].percentile_00_5, plan.intensities[index].percentile_99_5
        else:
            window = window_of(image[index])
        channels.append(Channel(name if names.count(name) == 1 else f"{index}: {name}", (index,), *window))
    return channels


def view_of(volume: Volume, file: str, plan: Plan | None) -> View:
    """Return the view across the axis of largest spacing, turned as radiologists hang images where the file knows."""
    across = plan.transpose_forward[0] if plan is not None and volume.shape[0] > 1 else 0
    geometry = volume.geometry
    knows_patient = not (is_known(file) and ending_of(file).lower() in (*NATURAL_ENDINGS, *TIFF_ENDINGS))
    return view_across(across, geometry.direction if geometry and geometry.ndim == 3 and knows_patient else None)


def _not_shown(role: str, key: Key, dice: float, reason: str) -> str:
    what = role if role.endswith("case") else f"{role} case"
    scored = "" if math.isnan(dice) else f" (Dice {dice:.3f})"
    return f"Not shown: the {what}, {key[1]}{scored}: {reason}."


def _draw(job: Job, plan: Plan | None, segmented: SegmentedCase, most_bytes: int) -> Pictures:
    case = segmented.case
    if case.label is None:
        raise DataError(f"case {case.name} has no label map")
    volume, prediction = read_image(case.images), segmented.read_prediction()
    reference = np.asarray(read_label(case.label, job.dataset.remap).array[0])
    if not volume.shape == reference.shape == prediction.shape:
        raise DataError(
            f"case {case.name}: image, label map and segmentation differ in shape: {volume.shape}, {reference.shape}, "
            f"{prediction.shape}"
        )
    ignore = job.dataset.labels.ignore_value
    image = np.asarray(volume.array, np.float32)
    maps = CaseMaps(image, reference, prediction, volume.spacing, (0,) if ignore is None else (0, ignore))
    channels = choose_channels(image, job.dataset.channel_names, plan)
    return make_pictures(maps, channels, view_of(volume, case.images[0], plan), most_bytes)


def _viewed(segmented: SegmentedCase, role: str, pictures: Pictures) -> ViewedCase:
    labels = segmented.metrics.labels
    is_flat = pictures.num_slices == 1
    size = 1.0 if is_flat else pictures.voxel_mm3 / MM3_PER_ML
    return ViewedCase(
        name=segmented.case.name,
        role=role,
        fold=str(segmented.fold),
        mean_dice=case_dice(segmented.metrics),
        dice={name: counts.dice for name, counts in labels.items()},
        sizes={name: (counts.n_ref * size, counts.n_pred * size) for name, counts in labels.items()},
        unit="pixels" if is_flat else "ml",
        pictures=pictures,
    )


def _schemes(plan: Plan) -> list[tuple[str, ...]]:
    return [configuration.normalization_schemes for configuration in plan.configurations.values()]
