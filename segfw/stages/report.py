"""Stage and verb `report`: gather what is on disk into one self-contained page.

It ends with an example prediction by the packaged model, made as a user would make it, so that the page's last line
is known to work.
"""

import csv
import logging
import math
import platform
import shlex
import time
from pathlib import Path

import torch

from segfw.core.errors import ArtefactError, SegfwError, UsageError
from segfw.core.labels import LabelSet
from segfw.core.plan import Configuration, Plan
from segfw.core.planning.cost import parameter_count
from segfw.core.planning.network_fit import as_built
from segfw.core.scoring.postprocessing import step_in_words
from segfw.core.scoring.selection import Score
from segfw.core.scoring.selection_record import SelectionRecord
from segfw.core.settings.schema import ExperimentSettings, NetworkSettings
from segfw.core.support.files import write_text
from segfw.core.support.locks import hold
from segfw.core.support.words import counted
from segfw.core.version import __version__
from segfw.io.formats.readers import read_image, write_label
from segfw.io.formats.writing import label_ending
from segfw.stages.ending import StageEnd, nothing_to_do, tell_end, wrote
from segfw.stages.job import Job, prepare
from segfw.stages.networks import compared_networks
from segfw.stages.predict_devices import open_predictor
from segfw.stages.runs import FinishedFold
from segfw.stages.select import finished_folds, load_selection
from segfw.tracking.network_table import NetworkRow
from segfw.tracking.report import FoldCurves, ReportContent, ValidationScores, build_report
from segfw.tracking.selection_table import CandidateScore
from segfw.workspace import digest

log = logging.getLogger(__name__)


def run(settings: ExperimentSettings) -> None:
    """Build the page again from what is on disk: the verb."""
    begun = time.monotonic()
    end = build(prepare(settings))
    tell_end("report", end, time.monotonic() - begun)


def build(job: Job) -> StageEnd:
    """Write report/index.html, and an example prediction beside it once there is a model."""
    page = job.workspace.report
    with hold(job.workspace.lock("report"), "the report"):
        folds = _folds(job)
        text = build_report(_content(job, folds))
        changed = not page.exists() or page.read_bytes() != text.encode()
        if changed:
            write_text(page, text)
        _example(job, folds.get(job.settings.name, []))
    number = counted(sum(map(len, folds.values())), "finished fold")
    return wrote(number, page) if changed else nothing_to_do(page)


def _folds(job: Job) -> dict[str, list[FinishedFold]]:
    """Return the finished folds of every name that has runs."""
    folder = job.workspace.runs("")
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return {name: finished_folds(job.workspace, name) for name in names}


def _content(job: Job, folds_of: dict[str, list[FinishedFold]]) -> ReportContent:
    """Gather the runs of every name; where there are several, each candidate is shown with its name."""
    names = list(folds_of)
    several = len(names) > 1
    curves: list[FoldCurves] = []
    validations: list[ValidationScores] = []
    candidates: list[CandidateScore] = []
    for name in names:
        prefix = f"{name}: " if several else ""
        folds = folds_of[name]
        curves += [FoldCurves(prefix + fold.candidate, str(fold.run.fold), _rows(fold.folder)) for fold in folds]
        validations += _validations(folds, prefix)
        selection = _optional_selection(job, name)
        scores = selection.scores if selection else ()
        own_name = name == job.settings.name
        candidates += [_candidate(score, prefix, with_lead=own_name) for score in scores]
    own = _optional_selection(job, job.settings.name)
    plan = _optional_plan(job)
    return ReportContent(
        dataset_name=job.dataset.name,
        run_name=", ".join(names) or job.settings.name,
        num_cases=len(job.dataset.cases),
        channel_names=job.dataset.channel_names,
        labels=job.dataset.labels,
        fingerprint=job.fingerprint if plan is not None and job.settings.planner.plan_file is None else None,
        plan=plan,
        num_parameters={} if plan is None else _parameters(plan),
        networks=networks_to_draw(job, plan, folds_of),
        compared=() if plan is None else _compared(job),
        curves=tuple(curves),
        validations=tuple(validations),
        candidates=tuple(candidates),
        winner=None if own is None else (f"{job.settings.name}: " if several else "") + own.winner,
        selection_notes=() if own is None else selection_notes(own, job.dataset.labels),
        same_cases=len({(score.num_cases) for score in candidates}) <= 1 and (own is None or own.same_cases),
        versions={"segfw": __version__, "PyTorch": torch.__version__, "Python": platform.python_version()},
    )


def _candidate(score: Score, prefix: str, with_lead: bool) -> CandidateScore:
    """Return a row of the table; leads are those over the candidates of one name, the command's own."""
    ahead = score.winner_ahead_by
    lead = (ahead.dice, ahead.low, ahead.high) if ahead and with_lead else None
    return CandidateScore(prefix + score.name, score.num_cases, score.dice, score.dice_per_label, lead)


def selection_notes(record: SelectionRecord, labels: LabelSet) -> tuple[str, ...]:
    """Say how sure the choice is, what is done after the network, and what did not compete."""
    cross = record.cross_fitted
    if cross.dice is None:
        said = f"no cross-fitted score: {cross.reason}"
    else:
        said = f"cross-fitted {cross.dice:.4f} (each case scored by what was chosen without its fold)"
    notes = [f"Selection score of {record.winner}: {record.selection_score:.4f}, on the cases that chose it; {said}."]
    if len(record.scores) > 1:
        notes.append(f"Intervals: {record.intervals}.")
    chosen = record.postprocessing
    if chosen is not None and chosen.steps:
        words = "; ".join(step_in_words(step, labels) for step in chosen.steps)
        means = f"{chosen.before.foreground:.4f} to {chosen.after.foreground:.4f}"
        notes.append(f"Postprocessing, {means} on the cases that chose it: {words}.")
    elif chosen is not None:
        notes.append(f"Postprocessing: none of {len(chosen.examined)} steps examined is worth it.")
    return (*notes, *(f"Not formed: {name}: {reason}." for name, reason in record.not_formed.items()))


def _optional_selection(job: Job, name: str) -> SelectionRecord | None:
    """Return a name's selection, None where there is none that can be read."""
    try:
        return load_selection(job.workspace, name)
    except SegfwError as error:
        log.warning("report: without the selection %s: %s", name, error)
        return None


def _optional_plan(job: Job) -> Plan | None:
    """Return the plan that is run, None before there is one that can be used."""
    try:
        return job.plan
    except ArtefactError as error:
        log.info("report: without the plan: %s", error)
        return None


def _parameters(plan: Plan) -> dict[str, int]:
    heads = plan.labels.num_heads
    return {name: parameter_count(c, plan.num_inputs(c), heads) for name, c in plan.configurations.items()}


def networks_to_draw(job: Job, plan: Plan | None, folds_of: dict[str, list[FinishedFold]]) -> dict[str, Configuration]:
    """Return the networks that were trained, by name and candidate; before any was, those of this command.

    Of a network of the user's own nobody knows what it looks like.
    """
    trained: dict[str, Configuration | None] = {}
    for name, folds in folds_of.items():
        prefix = f"{name}: " if len(folds_of) > 1 else ""
        for fold in folds:
            trained[prefix + fold.candidate] = as_built(fold.run.configuration, fold.run.network)
    if not trained and plan is not None:
        trained = {name: as_built(plan.configuration(name), job.settings.network) for name in job.configurations}
    return {name: configuration for name, configuration in trained.items() if configuration is not None}


def _compared(job: Job) -> tuple[NetworkRow, ...]:
    """Return what every network would cost; without the user's own where that does not work any more."""
    try:
        return compared_networks(job.overridden_plan, job.settings.network)
    except UsageError as error:
        log.warning("report: without the network %s: %s", job.settings.network.name, error)
        return compared_networks(job.overridden_plan, NetworkSettings())


def _rows(folder: Path) -> tuple[dict[str, float], ...]:
    """Read the curves of a run; none, and a warning, where they are missing or damaged."""
    try:
        with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            return tuple({key: float(value) if value else math.nan for key, value in row.items()} for row in rows)
    except (OSError, ValueError, TypeError) as error:
        log.warning("report: without the curves of %s: %s", folder, error)
        return ()


def _validations(folds: list[FinishedFold], prefix: str) -> tuple[ValidationScores, ...]:
    scored = [fold for fold in folds if fold.scores is not None]
    entries = []
    for name in dict.fromkeys(fold.candidate for fold in scored):
        own = [fold for fold in scored if fold.candidate == name]
        cases = [case for fold in own if fold.scores for case in fold.scores.cases]
        labels = list(cases[0].labels) if cases else []
        dice = {label: tuple(case.labels[label].dice for case in cases) for label in labels}
        entries.append(ValidationScores(prefix + name, tuple(str(fold.run.fold) for fold in own), dice))
    return tuple(entries)


def _example(job: Job, folds: list[FinishedFold]) -> None:
    """Segment one image with the packaged model: a validation case, which its first member has not seen."""
    model = job.workspace.model(job.settings.name)
    if not (model / "model.yaml").exists():
        return
    validated = {name: None for fold in folds for name in fold.run.val_cases}
    cases = {case.name: case for case in job.dataset.cases}  # which may have changed since
    case = next((cases[name] for name in validated if name in cases), job.dataset.cases[0])
    ending = label_ending(Path(case.images[0]))
    target = job.workspace.report.parent / f"example_{job.settings.name}_{case.name}{ending}"
    stamp = target.parent / f".{target.name}.made_from"
    made_from = digest([(model / "model.yaml").read_text(encoding="utf-8"), job.record.content])
    if target.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == made_from:
        return
    volume = read_image(case.images)
    settings = job.settings.trainer
    own_code = job.settings.network.target is not None  # which this command has run anyway
    card = settings.devices[0] if isinstance(settings.devices, tuple) else 0
    try:
        predictor = open_predictor(model, settings.accelerator, settings.threads, trust_code=own_code, number=card)
    except UsageError as error:
        log.warning("report: without an example prediction: %s", error)
        return
    segmentation = predictor.predict(volume).segmentation
    if volume.geometry is None:
        raise ArtefactError(f"{case.images[0]} states no geometry")
    write_label(target, segmentation, volume.geometry)
    write_text(stamp, made_from)
    log.info("report: an example prediction, %s; as a command:", target)
    source = case.images[0] if len(case.images) == 1 else Path(case.images[0]).parent
    log.info("  %s", predict_command(model, Path(source), own_code))


def predict_command(model: Path, source: Path, own_code: bool) -> str:
    """Return what a user types, for a shell, to segment `source` likewise."""
    trust = " inference.trust_code=true" if own_code else ""
    places = f"model={shlex.quote(str(model))} input={shlex.quote(str(source))}"
    return f"python -m segfw predict {places} output=FOLDER{trust}"
