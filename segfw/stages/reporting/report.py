"""Stage and verb `report`: gather what is on disk into one self-contained page.

It ends with an example prediction by the packaged model, made as a user would make it, so that the page's last line
is known to work.
"""

import logging
import platform
import time

import torch

from segfw.core.errors import SegfwError
from segfw.core.labels import LabelSet
from segfw.core.scoring.postprocessing import step_in_words
from segfw.core.scoring.selection import Score
from segfw.core.scoring.selection_record import SelectionRecord
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.support.files import write_text
from segfw.core.support.locks import hold
from segfw.core.support.words import counted
from segfw.core.version import __version__
from segfw.stages.ending import StageEnd, nothing_to_do, tell_end, wrote
from segfw.stages.job import Job, prepare
from segfw.stages.reporting.cases import viewed_cases
from segfw.stages.reporting.confusion import winner_confusion
from segfw.stages.reporting.example import make_example
from segfw.stages.reporting.plan import compared, networks_to_draw, optional_plan, parameters_of, reasons_of
from segfw.stages.reporting.runs import cost_of, rows_of, scores_of, tolerance_of, validations_of
from segfw.stages.reporting.winner import Winner, find_winner
from segfw.stages.selection.select import finished_folds, load_selection
from segfw.stages.trainings.cascade import without_stale
from segfw.stages.trainings.runs import FinishedFold
from segfw.tracking.report import FoldCurves, ReportContent, build_report
from segfw.tracking.selection_table import CandidateScore
from segfw.tracking.summary import Choice

log = logging.getLogger(__name__)

MADE = ".made"
"""Folder beside the page with what was computed from images, to be used again."""


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
        make_example(job, folds.get(job.settings.name, []))
    number = counted(sum(map(len, folds.values())), "finished fold")
    return wrote(number, page) if changed else nothing_to_do(page)


def _folds(job: Job) -> dict[str, list[FinishedFold]]:
    """Return the finished folds of every name that has runs."""
    folder = job.workspace.runs("")
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return {name: finished_folds(job.workspace, name) for name in names}


def _content(job: Job, folds_of: dict[str, list[FinishedFold]]) -> ReportContent:
    """Gather the runs of every name; where there are several, each candidate is shown with its name."""
    names, own_name = list(folds_of), job.settings.name
    own_folds = without_stale(folds_of.get(own_name, []))
    prefixes = {name: f"{name}: " if len(names) > 1 else "" for name in names}
    every = [(prefixes[name], fold) for name in names for fold in folds_of[name]]
    selections = {name: _optional_selection(job, name) for name in names}
    candidates = [
        _candidate(score, prefixes[name], with_lead=name == own_name)
        for name, record in selections.items()
        for score in (record.scores if record else ())
    ]
    own, plan, labels = selections.get(own_name), optional_plan(job), job.dataset.labels
    winner, made = find_winner(job, own, own_folds), job.workspace.report.parent / MADE
    viewed = viewed_cases(job, plan, winner, made)
    is_planned = plan is not None and job.settings.planner.plan_file is None
    reasons, plan_notes = ({}, ()) if plan is None else reasons_of(job)
    return ReportContent(
        dataset_name=job.dataset.name,
        run_name=", ".join(names) or own_name,
        num_cases=len(job.dataset.cases),
        channel_names=job.dataset.channel_names,
        labels=labels,
        fingerprint=job.fingerprint if is_planned else None,
        plan=plan,
        num_parameters={} if plan is None else parameters_of(plan),
        networks=networks_to_draw(job, plan, folds_of),
        compared=() if plan is None else compared(job),
        reasons=reasons,
        plan_notes=plan_notes,
        curves=tuple(FoldCurves(p + f.candidate, str(f.run.fold), rows_of(f.folder)) for p, f in every),
        runs=tuple(cost_of(fold, prefix) for prefix, fold in every),
        validations=tuple(v for name in names for v in validations_of(folds_of[name], prefixes[name])),
        tolerance=tolerance_of(own_folds),
        candidates=tuple(candidates),
        winner=None if own is None else prefixes[own_name] + own.winner,
        choice=None if own is None else _choice(own),
        winner_scores=None
        if winner is None
        else scores_of(winner.name, [str(f) for f in winner.folds], list(winner.scores.values())),
        selection_notes=() if own is None else selection_notes(own, labels),
        same_cases=len({(score.num_cases) for score in candidates}) <= 1 and (own is None or own.same_cases),
        viewed=viewed.cases,
        viewer_notes=(*viewed.notes, *_viewer_notes(winner, own)),
        confusion=winner_confusion(job, winner, made),
        versions={"segfw": __version__, "PyTorch": torch.__version__, "Python": platform.python_version()},
    )


def _choice(record: SelectionRecord) -> Choice:
    best, cross = record.best, record.cross_fitted
    return Choice(
        winner=record.winner,
        num_candidates=len(record.scores),
        num_cases=best.num_cases,
        folds=tuple(str(fold) for fold in best.folds),
        selection_score=record.selection_score,
        cross_fitted=cross.dice,
        cross_fitted_per_label=cross.dice_per_label,
        reason=cross.reason,
    )


def _viewer_notes(winner: Winner | None, record: SelectionRecord | None) -> tuple[str, ...]:
    if winner is None:
        return ()
    chosen = "before postprocessing" if record is not None and record.steps else "as they were validated"
    return (f"Segmentations of {winner.name}, {chosen}, each by a network that had not seen the case.",)


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
