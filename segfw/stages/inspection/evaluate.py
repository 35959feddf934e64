"""Verb `evaluate`: score a folder of segmentations against references of the same names, or of names that pair."""

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segfw.core.cases.affixes import TwoRulesError, find_rule
from segfw.core.cases.description import EVALUATED_REMAP, read_remap
from segfw.core.cases.verification import value_counts
from segfw.core.errors import DataError, UsageError
from segfw.core.labels import IGNORE, LabelKey, members
from segfw.core.scoring.metrics import (
    TOLERANCE_MM,
    CaseMetrics,
    Summary,
    score_case,
    summarize,
    summary_to_csv,
    summary_to_json,
)
from segfw.core.settings.schema import IN_PROCESSES, ExecutorSettings
from segfw.core.settings.verbs import EvaluateSettings
from segfw.core.support.files import looked_for, require_writable, write_text
from segfw.core.support.words import counted
from segfw.core.types import Geometry
from segfw.interop.nnunet_scores import is_ours, summary_text
from segfw.io.datasets.listing import UNCERTAINTY, image_files
from segfw.io.formats.readers import read_label
from segfw.stages.executor import run_cases

log = logging.getLogger(__name__)

Labels = Mapping[str, Any]
Values = Mapping[str, int | LabelKey]
Pair = tuple[str, Path, Path]
Remap = Mapping[int, int]

VALIDATION, METRICS_JSON, CONFIG = "validation", "metrics.json", "config.yaml"
"""What a run's files are called: `segfw.training.run` and `segfw.stages.trainings.runs` say so, but load PyTorch."""
ENDINGS = (".json", ".csv")
LIKE_AN_ENDING = re.compile(r"\.[A-Za-z]{2,5}")
"""Of another kind of file, such as .xlsx; `fold.1` and `net.v2` are names."""
SAME = 1e-3
"""How far the numbers of two headers may lie apart: formats and programs round them."""
SHOWN_PAIRS = 5
_BYTES_PER_VOXEL = 30
"""Two label maps of 16 bits, one of them twice while it is read, and what `segfw.core.scoring.surface` needs for a box
as large as the image."""


def run(settings: EvaluateSettings) -> None:
    """Write per-case and mean metrics as JSON, as nnU-Net's JSON and as CSV, and log the means."""
    if settings.predictions is None or settings.references is None:
        raise UsageError("evaluate needs predictions=FOLDER and references=FOLDER")
    output, table = _outputs(Path(settings.output) if settings.output else _beside(Path(settings.predictions)))
    remap = read_remap(settings.remap, EVALUATED_REMAP)
    pairs = _pairs(Path(settings.predictions), Path(settings.references))
    require_writable(output)
    values = _values(pairs, settings.labels, remap, settings.executor)
    ignore = (settings.labels or {}).get(IGNORE)
    tolerance = settings.tolerance_mm if settings.metrics == "all" else None
    summary = _evaluate(pairs, values, ignore, remap, settings.executor, tolerance)
    write_text(output, summary_to_json(summary))
    write_text(table, summary_to_csv(summary))
    _write_theirs(output, summary_text(summary, values, {name: (mine, reference) for name, mine, reference in pairs}))
    for name in summary.mean:
        log.info("%s", _line(summary, name))
    log.info("evaluate: mean foreground Dice %.4f; wrote %s and %s", summary.foreground_mean["dice"], output, table)


def evaluate(
    predictions: Path,
    references: Path,
    labels: Labels | None = None,
    executor: ExecutorSettings = IN_PROCESSES,
    tolerance_mm: float | None = TOLERANCE_MM,
    remap: Mapping[int, int] | None = None,
) -> Summary:
    """Score each segmentation in `predictions` against the file of the same case name in `references`.

    `labels`: name -> value or values (regions may overlap; `ignore` leaves voxels out); None takes every value above 0
    that occurs in the references. `tolerance_mm`: what NSD forgives; None counts voxels and measures nothing.
    `remap`: value in the references -> value to use; those of the predictions and of `labels` stay.
    `DataError` when a folder or a reference is missing. References without a prediction are named and left out.
    """
    pairs, remap = _pairs(predictions, references), remap or {}
    values = _values(pairs, labels, remap, executor)
    return _evaluate(pairs, values, (labels or {}).get(IGNORE), remap, executor, tolerance_mm)


def _evaluate(
    pairs: list[Pair],
    values: Values,
    ignore_value: int | None,
    remap: Remap,
    executor: ExecutorSettings,
    tolerance_mm: float | None,
) -> Summary:
    score = partial(_score, {name: members(value) for name, value in values.items()}, ignore_value, tolerance_mm, remap)
    scored = run_cases(score, {pair[0]: pair for pair in pairs}, executor, "evaluate", _case_bytes(pairs))
    summary = summarize([metrics for metrics, _ in scored.values()])
    _warn_of_values(summary, values, ignore_value, {value for _, found in scored.values() for value in found})
    return summary


def _warn_of_values(summary: Summary, values: Values, ignore_value: int | None, found: set[int]) -> None:
    """Warn of labels that no map holds and of values in the references that no label has, such as a wrong number."""
    absent = {
        name: values[name] for name, presence in summary.presence.items() if presence.neither == len(summary.cases)
    }
    if absent:
        log.warning("labels: neither a segmentation nor a reference holds %s; they have no score", absent)
    left = sorted(found - {0, ignore_value} - {value for wanted in values.values() for value in members(wanted)})
    if left:
        log.warning("labels: the references hold values that no label has, which are not scored: %s", left[:10])


def _values(pairs: list[Pair], labels: Labels | None, remap: Remap, executor: ExecutorSettings) -> Values:
    """Return the value or values of each label or region to score."""
    if labels is None:
        return _values_in(pairs, remap, executor)
    values = {str(name): value if isinstance(value, int) else tuple(value) for name, value in labels.items()}
    wrong = [n for n, v in values.items() if v == () or not all(isinstance(one, int) for one in members(v))]
    if wrong:
        raise UsageError(f"labels must map names to integers or lists of integers, not so: {wrong}")
    return {name: value for name, value in values.items() if name != IGNORE and members(value) != (0,)}


def _line(summary: Summary, name: str) -> str:
    """Return the means of a label, and in how many cases one of the maps lacks it."""
    row, presence = summary.mean[name], summary.presence[name]
    text = f"{name}: Dice {row['dice']:.4f}, IoU {row['iou']:.4f}"
    if "nsd" in row:
        text += f", NSD {row['nsd']:.4f} at {row['tolerance_mm']:g} mm, HD95 {row['hd95_mm']:.2f} mm"
    cases = counted(len(summary.cases) - presence.neither, "case")
    return f"{text} over {cases} ({presence.missed} missed, {presence.invented} invented)"


def _write_theirs(output: Path, text: str) -> None:
    """Write nnU-Net's form beside `output`, but never over a summary that nnU-Net itself has left there."""
    beside = output.with_name("summary.json" if output.name == "metrics.json" else f"{output.stem}_summary.json")
    if beside.exists() and not is_ours(beside):
        log.warning("%s is not segfw's and stays as it is; output=FILE writes elsewhere", beside)
        return
    write_text(beside, text)


def _outputs(output: Path) -> tuple[Path, Path]:
    """Return the JSON file and the CSV file that `output` means: it names either, or both without their ending."""
    if output.is_dir():
        raise UsageError(f"output: {output} is a folder; name a file in it, such as {output / METRICS_JSON}")
    ending = output.suffix
    if ending in ENDINGS:
        output = output.with_suffix("")
    elif LIKE_AN_ENDING.fullmatch(ending):
        raise UsageError(f"output: a name that ends in {' or '.join(ENDINGS)}, or in neither, got {output}")
    metrics, table = (output.with_name(output.name + each) for each in ENDINGS)
    for path in (metrics, table):
        if path.is_dir():
            raise UsageError(f"output: {path} would be written, and is a folder; give another name")
    return metrics, table


def _beside(predictions: Path) -> Path:
    """Return where metrics go unless the user says where; a run's own, which selection reads, are not written over."""
    if predictions.name == VALIDATION and (predictions.parent / CONFIG).is_file():
        raise UsageError(
            f"{predictions} is the validation of a run, whose {METRICS_JSON} must stay as it is; "
            "output=FILE.json writes elsewhere"
        )
    return predictions / METRICS_JSON


def _case_bytes(pairs: list[Pair]) -> float:
    """Estimate the memory that a case takes, by the reference whose file is largest."""
    path = max((reference for _, _, reference in pairs), key=lambda reference: reference.stat().st_size)
    try:
        return float(_BYTES_PER_VOXEL * read_label(path).array.size)
    except DataError:
        return 0.0  # scoring names it, with the others that fail


def _pairs(predictions: Path, references: Path) -> list[Pair]:
    for folder in (predictions, references):
        if not folder.is_dir():
            raise DataError(f"there is no folder {looked_for(folder)}")
    known = image_files(references)
    there = image_files(predictions)
    maps = {f"{name}{UNCERTAINTY}" for name in there}
    found = {name: path for name, path in there.items() if name not in maps}
    if not found:
        raise DataError(f"{predictions} holds no image file")
    missing = sorted(set(found) - set(known))
    reference_of = {name: name for name in found} if not missing else _paired_by_rule(found, known)
    if reference_of is None:
        raise DataError(
            f"{references} has no reference for {len(missing)} of {len(found)} segmentations: {missing[:10]}; names "
            "must be the same but for what stands before and after each case, as in ann_scan and ann_mask"
        )
    left = sorted(set(known) - set(reference_of.values()))
    if left:
        log.warning("%d of %d references have no segmentation and are left out: %s", len(left), len(known), left[:10])
    return [(name, found[name], known[reference_of[name]]) for name in sorted(found)]


def _paired_by_rule(found: Iterable[str], known: Collection[str]) -> dict[str, str] | None:
    """Return {segmentation: reference} by the rule that `init` pairs names by; None unless it pairs every one."""
    try:
        rule = find_rule(found, known)
    except TwoRulesError as error:
        raise DataError(
            f"{error.text('predictions', 'references')}\n"
            "rename the files so that a prediction is called as its reference, or leave one kind of file in each folder"
        ) from error
    if rule is None or len(rule.images) != 1:
        return None
    cases = {name: rule.images[0].case(name) for name in found}
    pairs = {name: rule.label.name(case) for name, case in cases.items() if case is not None}
    if pairs.keys() != cases.keys() or not set(pairs.values()) <= set(known):
        return None
    shown = ", ".join(f"{name} with {pairs[name]}" for name in sorted(pairs)[:SHOWN_PAIRS])
    more = f", and {len(pairs) - SHOWN_PAIRS} more" if len(pairs) > SHOWN_PAIRS else ""
    log.info("evaluate: segmentations %s, references %s: %s%s", rule.images[0], rule.label, shown, more)
    return pairs


def _values_in(pairs: list[Pair], remap: Remap, executor: ExecutorSettings) -> Values:
    """Name every value above 0 that occurs in the references after itself."""
    found = run_cases(
        partial(_occurring, remap), {name: reference for name, _, reference in pairs}, executor, "label values"
    )
    values = sorted({value for case in found.values() for value in case if value > 0})
    if not values:
        raise DataError("the references hold no value above 0; name the labels with labels={NAME: VALUE, ...}")
    return {str(value): value for value in values}


def _occurring(remap: Remap, path: Path) -> list[int]:
    return [int(v) for v in np.unique(read_label(path, remap).array)]


def _score(
    keys: Mapping[str, LabelKey], ignore_value: int | None, tolerance_mm: float | None, remap: Remap, pair: Pair
) -> tuple[CaseMetrics, frozenset[int]]:
    """Return a case's metrics and the values that its reference holds."""
    name, prediction, reference = pair
    truth, found = read_label(reference, remap), read_label(prediction)
    _check_same_grid(prediction, found.geometry, truth.geometry)
    spacing = None if tolerance_mm is None else truth.spacing
    metrics = score_case(name, truth.array[0], found.array[0], keys, ignore_value, spacing, tolerance_mm or 0.0)
    return metrics, frozenset(value_counts(truth.array))


def _check_same_grid(path: Path, found: Geometry | None, wanted: Geometry | None) -> None:
    """Raise `DataError` for a file whose voxels are of another size or lie along other axes than the reference's."""
    if found is None or wanted is None or found.ndim != wanted.ndim:
        return
    for what, mine, theirs in (
        ("spacing (slowest axis first)", found.spacing, wanted.spacing),
        ("direction (slowest axis first)", found.direction, wanted.direction),
    ):
        if not np.allclose(mine, theirs, rtol=SAME, atol=SAME):
            raise DataError(f"{path} has {what} {_digits(mine)}, its reference {_digits(theirs)}")


def _digits(values: Any) -> str:
    return str(np.round(values, 4).tolist())
