"""One step of the real code alone, for `scaling.py`: `python -m scripts.benchmarks.scaling_work WORK FOLDER`.

FOLDER/data holds the raw dataset; what is written comes into FOLDER.
"""

import logging
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from segfw import load_dataset, make_fingerprint, make_plan, preprocess_case
from segfw.core.cases.dataset import Dataset
from segfw.core.cases.splits import random_splits
from segfw.core.errors import DataError
from segfw.core.imaging.preprocessing import CropRecord
from segfw.core.plan import Fingerprint, IntensityStatistics, Plan
from segfw.core.scoring.metrics import (
    CaseMetrics,
    case_metrics,
    summarize,
    summary_from_plain,
    summary_to_csv,
    summary_to_json,
)
from segfw.core.scoring.postprocessing import apply_steps, secondary_volumes
from segfw.core.scoring.postprocessing_choice import determine
from segfw.core.settings.schema import InferenceSettings, PostprocessingSettings
from segfw.core.types import IntArray, Shape, Volume
from segfw.data.case_files import save_case
from segfw.inference.restoring import restore_segmentation
from segfw.io.formats.readers import read_image, read_label
from segfw.io.formats.writing import write_label
from segfw.stages.dataset.folds import read_own_splits, write_splits
from segfw.stages.dataset.raw import scan
from segfw.stages.prediction.claims import CaseList, Claimed
from segfw.stages.prediction.inputs import find_cases
from segfw.stages.prediction.outputs import plan_outputs
from segfw.workspace import Workspace, load_json

CONFIGURATION = "3d_fullres"


def list_files(folder: Path) -> None:
    """Find the cases, hash the files that are not known, and write or read dataset.yaml."""
    (folder / "out").mkdir(exist_ok=True)
    scan(load_dataset(folder / "data"), Workspace(folder / "out"))


def divide(folder: Path) -> None:
    """Make folds, write and read them."""
    names = [case.name for case in load_dataset(folder / "data").cases]
    write_splits(folder / "splits.json", random_splits(names, 5, 12345))
    read_own_splits(folder / "splits.json", names)


def average(folder: Path) -> None:
    """Average the scores of as many cases as there are, and write and read them as a validation does."""
    dataset = load_dataset(folder / "data")
    scored = _scored(dataset)
    summary = summarize([CaseMetrics(case.name, scored.labels, scored.measures) for case in dataset.cases])
    (folder / "metrics.csv").write_text(summary_to_csv(summary))
    (folder / "metrics.json").write_text(summary_to_json(summary))
    summary_from_plain(load_json(folder / "metrics.json"))


def claim(folder: Path) -> None:
    """Find the images to segment and claim each; an empty file takes the place of the network's work."""
    source, output = folder / "data/imagesTr", folder / "segmented"
    output.mkdir()
    cases = CaseList(plan_outputs(find_cases(source, ["MRI"]), source, output, InferenceSettings()))
    while isinstance(taken := cases.take(), Claimed):
        taken.lock.check()
        taken.case.target.touch()
        cases.give_back(taken.case.name)
    cases.close()


def fingerprint(folder: Path) -> None:
    """Take the fingerprint of one case in this process."""
    make_fingerprint(load_dataset(folder / "data"), scratch=folder)


def preprocess(folder: Path) -> None:
    """Read, preprocess and save a case at 1.5 times its spacing."""
    dataset = load_dataset(folder / "data")
    case = dataset.cases[0]
    image, label = read_image(case.images), read_label(str(case.label))
    plan = _plan(dataset, image.shape)
    save_case(folder, case.name, preprocess_case(image, label, plan, plan.configuration(CONFIGURATION)))


def restore(folder: Path) -> None:
    """Bring logits of a case at 1.5 times its spacing back to its own grid, and write the label map.

    The network's part is taken by the reference, as logits of 1 and 0.
    """
    dataset = load_dataset(folder / "data")
    case = dataset.cases[0]
    label = read_label(str(case.label))
    whole = label.shape
    plan = _plan(dataset, whole)
    grid = tuple(math.ceil(size / 1.5) for size in whole)
    coarse = label.array[0][tuple(np.ix_(*(np.arange(n) * size // n for n, size in zip(grid, whole, strict=True))))]
    logits = np.zeros((plan.labels.num_heads, *grid), np.float16)
    for value in range(len(logits)):
        logits[value][coarse == value] = 1
    record = CropRecord(label.spacing, whole, tuple((0, size) for size in whole), whole, grid)
    found = restore_segmentation(logits, record, plan, plan.configuration(CONFIGURATION))
    if label.geometry is None:
        raise DataError(f"{case.label} states no geometry")
    write_label(folder / "restored.nii.gz", found, label.geometry)


def score(folder: Path) -> None:
    """Score a case: a shifted copy of its reference against it."""
    _scored(load_dataset(folder / "data"))


def postprocess(folder: Path) -> None:
    """Find the postprocessing of a case: a shifted copy of its reference with specks."""
    dataset = load_dataset(folder / "data")
    label, found = _pair(dataset)
    found[:: found.shape[0] // 4, ::12, ::12] = 1
    reference, labels = np.asarray(label.array[0]), dataset.labels
    determine(
        labels,
        lambda steps: [case_metrics("case", reference, apply_steps(found, steps, label.spacing), labels)],
        lambda steps: secondary_volumes(apply_steps(found, steps, label.spacing), labels, label.spacing),
        PostprocessingSettings(),
    )


def _plan(dataset: Dataset, shape: Shape) -> Plan:
    """Plan 1.5 times the spacing of 1 mm; a made-up fingerprint spares reading the images for it."""
    intensities = (IntensityStatistics(0.0, 0.0, 577.0, -1000.0, 1000.0, 990.0, -990.0),)
    known = Fingerprint(((1.0, 1.0, 1.0),), (shape,), intensities, 1.0)
    return make_plan(dataset, known, target_spacing=(1.5, 1.5, 1.5), transpose=False)


def _pair(dataset: Dataset) -> tuple[Volume, IntArray]:
    label = read_label(str(dataset.cases[0].label))
    return label, np.roll(label.array[0], 1, axis=1)


def _scored(dataset: Dataset) -> CaseMetrics:
    label, found = _pair(dataset)
    return case_metrics("case", np.asarray(label.array[0]), found, dataset.labels, label.spacing)


WORKS: dict[str, Callable[[Path], None]] = {
    "list": list_files,
    "divide": divide,
    "average": average,
    "claim": claim,
    "fingerprint": fingerprint,
    "preprocess": preprocess,
    "restore": restore,
    "score": score,
    "postprocess": postprocess,
}


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    WORKS[sys.argv[1]](Path(sys.argv[2]))
