"""Verb `evaluate`: score a folder of segmentations against references of the same file names."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segfw.core.errors import DataError, UsageError
from segfw.core.files import write_text
from segfw.core.labels import IGNORE, LabelKey
from segfw.core.metrics import CaseMetrics, Summary, count_overlaps, summarize, summary_to_csv, summary_to_json
from segfw.core.verb_settings import EvaluateSettings
from segfw.io.datasets.listing import UNCERTAINTY, image_files
from segfw.io.formats.readers import read_label
from segfw.stages.executor import run_cases

log = logging.getLogger(__name__)

Labels = Mapping[str, Any]
Pair = tuple[str, Path, Path]


def run(settings: EvaluateSettings) -> None:
    """Write per-case and mean metrics as JSON and CSV, and log the means."""
    if settings.predictions is None or settings.references is None:
        raise UsageError("evaluate needs predictions=FOLDER and references=FOLDER")
    predictions, references = Path(settings.predictions), Path(settings.references)
    summary = evaluate(predictions, references, settings.labels, settings.workers)
    output = Path(settings.output) if settings.output else predictions / "metrics.json"
    output = output if output.suffix == ".json" else output.with_name(f"{output.name}.json")
    write_text(output, summary_to_json(summary))
    write_text(output.with_suffix(".csv"), summary_to_csv(summary))
    for name, row in summary.mean.items():
        log.info("%s: Dice %.4f, IoU %.4f over %d cases", name, row["dice"], row["iou"], len(summary.cases))
    log.info("evaluate: mean foreground Dice %.4f; wrote %s", summary.foreground_mean["dice"], output)


def evaluate(
    predictions: Path,
    references: Path,
    labels: Labels | None = None,
    workers: int | None = None,
) -> Summary:
    """Score each segmentation in `predictions` against the file of the same case name in `references`.

    `labels`: name -> value or values (regions may overlap; `ignore` leaves voxels out); None takes every value above 0
    that occurs in the references. `DataError` when
    a folder or a reference is missing. References without a prediction are named and left out.
    """
    pairs = _pairs(predictions, references)
    keys = _labels_in(pairs, workers) if labels is None else _keys(labels)
    score = partial(_score, keys, None if labels is None else labels.get(IGNORE))
    return summarize(list(run_cases(score, {pair[0]: pair for pair in pairs}, workers, "evaluate").values()))


def _keys(labels: Labels) -> dict[str, LabelKey]:
    """Return the member values of each label or region to score."""
    keys = {str(name): (value,) if isinstance(value, int) else tuple(value) for name, value in labels.items()}
    wrong = [name for name, values in keys.items() if not values or not all(isinstance(v, int) for v in values)]
    if wrong:
        raise UsageError(f"labels must map names to integers or lists of integers, not so: {wrong}")
    return {name: values for name, values in keys.items() if name != IGNORE and values != (0,)}


def _pairs(predictions: Path, references: Path) -> list[Pair]:
    for folder in (predictions, references):
        if not folder.is_dir():
            raise DataError(f"there is no folder {folder}")
    known = image_files(references)
    there = image_files(predictions)
    maps = {f"{name}{UNCERTAINTY}" for name in there}
    found = {name: path for name, path in there.items() if name not in maps}
    if not found:
        raise DataError(f"{predictions} holds no image file")
    missing = sorted(set(found) - set(known))
    if missing:
        raise DataError(
            f"{references} has no reference for {len(missing)} of {len(found)} segmentations: {missing[:10]}"
        )
    left = sorted(set(known) - set(found))
    if left:
        log.warning("%d of %d references have no segmentation and are left out: %s", len(left), len(known), left[:10])
    return [(name, found[name], known[name]) for name in sorted(found)]


def _labels_in(pairs: list[Pair], workers: int | None) -> dict[str, LabelKey]:
    """Name every value above 0 that occurs in the references after itself."""
    found = run_cases(_values, {name: reference for name, _, reference in pairs}, workers, "label values")
    values = sorted({value for case in found.values() for value in case if value > 0})
    if not values:
        raise DataError("the references hold no value above 0; name the labels with labels={NAME: VALUE, ...}")
    return {str(value): (value,) for value in values}


def _values(path: Path) -> list[int]:
    return [int(v) for v in np.unique(read_label(path).array)]


def _score(keys: dict[str, LabelKey], ignore_value: int | None, pair: Pair) -> CaseMetrics:
    name, prediction, reference = pair
    try:
        counts = count_overlaps(read_label(reference).array[0], read_label(prediction).array[0], keys, ignore_value)
    except DataError as error:
        raise DataError(f"case {name}: {error}") from error
    return CaseMetrics(name, counts)
