"""Verb `evaluate`: score a folder of segmentations against references of the same file names."""

import logging
from functools import partial
from pathlib import Path

import numpy as np

from segfw.core.errors import DataError, UsageError
from segfw.core.files import write_text
from segfw.core.labels import LabelSet
from segfw.core.metrics import CaseMetrics, Summary, case_metrics, summarize, summary_to_csv, summary_to_json
from segfw.core.settings import EvaluateSettings
from segfw.io.listing import image_files
from segfw.io.readers import read_label
from segfw.stages.executor import run_cases

log = logging.getLogger(__name__)

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
    labels: dict[str, int | tuple[int, ...]] | None = None,
    workers: int | None = None,
) -> Summary:
    """Score each segmentation in `predictions` against the file of the same case name in `references`.

    `labels`: name -> value or values; None takes every value above 0 that occurs in the references. `DataError` when
    a folder or a reference is missing. References without a prediction are named and left out.
    """
    pairs = _pairs(predictions, references)
    label_set = (
        LabelSet({str(k): v if isinstance(v, int) else tuple(v) for k, v in labels.items()})
        if labels
        else _labels_in(pairs, workers)
    )
    scored = run_cases(partial(_score, label_set), {pair[0]: pair for pair in pairs}, workers, "evaluate")
    return summarize(list(scored.values()))


def _pairs(predictions: Path, references: Path) -> list[Pair]:
    for folder in (predictions, references):
        if not folder.is_dir():
            raise DataError(f"there is no folder {folder}")
    known = image_files(references)
    found = image_files(predictions)
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


def _labels_in(pairs: list[Pair], workers: int | None) -> LabelSet:
    """Name every value that occurs in the references after itself."""
    values = run_cases(_values, {name: reference for name, _, reference in pairs}, workers, "label values")
    highest = max((max(found, default=0) for found in values.values()), default=0)
    if highest == 0:
        raise DataError("the references hold no value above 0; name the labels with labels={background:0,...}")
    return LabelSet({"background": 0, **{str(v): v for v in range(1, int(highest) + 1)}})


def _values(path: Path) -> list[int]:
    return [int(v) for v in np.unique(read_label(path).array)]


def _score(labels: LabelSet, pair: Pair) -> CaseMetrics:
    name, prediction, reference = pair
    return case_metrics(name, read_label(reference).array[0], read_label(prediction).array[0], labels)
