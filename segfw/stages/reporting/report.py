"""Stage and verb `report`: gather what is on disk into one self-contained page.

It ends with an example prediction by the packaged model, made as a user would make it, so that the page's last line
is known to work.
"""

import logging
import platform
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from segfw.core.errors import ArtefactError, SegfwError
from segfw.core.labels import LabelSet
from segfw.core.plan import Plan
from segfw.core.scoring.postprocessing import step_in_words
from segfw.core.scoring.selection import Score
from segfw.core.scoring.selection_record import SelectionRecord
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.support.files import remove_remains_below, write_text
from segfw.core.support.locks import hold
from segfw.core.support.words import counted
from segfw.core.version import __version__
from segfw.stages.dataset.raw import workspace_of
from segfw.stages.ending import StageEnd, nothing_to_do, tell_end, wrote
from segfw.stages.job import Job, prepare
from segfw.stages.reporting.cases import viewed_cases
from segfw.stages.reporting.confusion import winner_confusion
from segfw.stages.reporting.example import make_example
from segfw.stages.reporting.names import named_results, optional_selection
from segfw.stages.reporting.plan import (
    compared,
    explained_first,
    networks_to_draw,
    optional_plan,
    other_settings,
    parameters_of,
    reasons_of,
)
from segfw.stages.reporting.runs import cost_of, rows_of, scores_of, tolerance_of, validations_of
from segfw.stages.reporting.winner import Winner, find_winner
from segfw.stages.selection.select import finished_folds
from segfw.stages.trainings.cascade import without_stale
from segfw.stages.trainings.runs import FinishedFold
from segfw.tracking.comparison_section import NamedResult
from segfw.tracking.report import FoldCurves, ReportContent, build_report
from segfw.tracking.selection_table import CandidateScore
from segfw.tracking.summary import Choice
from segfw.training.run import DONE

log = logging.getLogger(__name__)

MADE = ".made"
"""Folder beside the page with what was computed from images, to be used again."""


def run(settings: ExperimentSettings) -> None:
    """Build the page again from what is on disk: the verb. `ArtefactError` where there is nothing to report."""
    begun = time.monotonic()
    workspace = workspace_of(settings)
    if not workspace.fingerprint.exists() and not any(workspace.runs("").glob(f"*/*/*/*/fold_*/{DONE}")):
        raise ArtefactError(
            f"report: {workspace.root} has neither a fingerprint nor a finished fold to report on; run the same "
            "command without the word report first (with stages=[fingerprint,plan] for a page of the plan alone)"
        )
    if settings.dry_run:
        folds = finished_folds(workspace, settings.name)
        log.info("report: would write %s, of %s", workspace.report, _of_folds(folds, settings.name))
        return
    end = build(prepare(settings))
    tell_end("report", end, time.monotonic() - begun)


def build(job: Job) -> StageEnd:
    """Write report/index.html, and an example prediction beside it once there is a model."""
    page = job.workspace.report
    with hold(job.workspace.lock("report"), "the report") as lock:
        remove_remains_below(page.parent)
        folds = finished_folds(job.workspace, job.settings.name)
        content = _content(job, folds)
        if not folds:
            _tell_other_names(job.settings.name, content.named)
        text = build_report(content)
        changed = not page.exists() or page.read_bytes() != text.encode()
        lock.check()
        if changed:
            write_text(page, text)
        try:
            make_example(job, folds, lock)
        except SegfwError as error:
            log.warning("report: without an example prediction: %s", error)
    return wrote(_of_folds(folds, job.settings.name), page) if changed else nothing_to_do(page)


def _of_folds(folds: Sequence[FinishedFold], name: str) -> str:
    return f"{counted(len(folds), 'finished fold')} of {name}"


def _tell_other_names(name: str, named: Sequence[NamedResult]) -> None:
    """Warn of a page without a result where other names have one, which a command without `name=` does not see."""
    others = [f"name={each.name} ({counted(each.num_folds, 'fold')})" for each in named if each.num_folds]
    if others:
        log.warning(
            "report: no fold of name=%s is finished, so the page has no result; finished are: %s; give the name of one "
            "of them for its page",
            name,
            ", ".join(others),
        )


def _content(job: Job, folds: list[FinishedFold]) -> ReportContent:
    """Gather what is known of the command's own name, and the results of other names beside it."""
    plan, record = optional_plan(job), optional_selection(job, job.settings.name)
    content = _with_trainings(_of_plan(job, plan, folds), folds)
    content = _with_result(job, content, record, folds)
    return replace(content, named=named_results(job, record, len(folds)))


def _of_plan(job: Job, plan: Plan | None, folds: list[FinishedFold]) -> ReportContent:
    """Return what is known before any training, but for the networks, of which those trained are shown."""
    is_planned = plan is not None and job.settings.planner.plan_file is None
    reasons, plan_notes = ({}, ()) if plan is None else reasons_of(job)
    return ReportContent(
        dataset_name=job.dataset.name,
        run_name=job.settings.name,
        num_cases=len(job.dataset.cases),
        channel_names=job.dataset.channel_names,
        labels=job.dataset.labels,
        fingerprint=job.fingerprint if is_planned else None,
        plan=plan,
        num_parameters={} if plan is None else parameters_of(plan),
        networks=networks_to_draw(job, plan, folds),
        compared=() if plan is None else compared(job),
        reasons=reasons,
        plan_notes=(*plan_notes, *(() if plan is None else other_settings(job, folds))),
        explained=explained_first(job, plan, folds),
        versions={"segfw": __version__, "PyTorch": torch.__version__, "Python": platform.python_version()},
    )


def _with_trainings(content: ReportContent, folds: list[FinishedFold]) -> ReportContent:
    return replace(
        content,
        curves=tuple(FoldCurves(fold.candidate, str(fold.run.fold), rows_of(fold.folder)) for fold in folds),
        runs=tuple(cost_of(fold) for fold in folds),
        validations=validations_of(folds),
        tolerance=tolerance_of(without_stale(folds)),
    )


def _with_result(
    job: Job, content: ReportContent, record: SelectionRecord | None, folds: list[FinishedFold]
) -> ReportContent:
    """Add what was selected, and what is seen of it on whole cases."""
    winner, made = find_winner(job, record, without_stale(folds)), job.workspace.report.parent / MADE
    viewed = viewed_cases(job, content.plan, winner, made)
    content = replace(
        content,
        viewed=viewed.cases,
        viewer_notes=(*viewed.notes, *_viewer_notes(job.settings.name, winner, record)),
        confusion=winner_confusion(job, winner, made),
    )
    if winner is not None:
        scores = scores_of(winner.name, [str(f) for f in winner.folds], list(winner.scores.values()))
        content = replace(content, winner_scores=scores)
    if record is None:
        return content
    return replace(
        content,
        candidates=tuple(map(_candidate, record.scores)),
        winner=record.winner,
        choice=_choice(record),
        selection_notes=selection_notes(record, content.labels),
        same_cases=record.same_cases,
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


def _viewer_notes(name: str, winner: Winner | None, record: SelectionRecord | None) -> tuple[str, ...]:
    if winner is None:
        return ()
    chosen = "before postprocessing" if record is not None and record.steps else "as they were validated"
    return (f"Segmentations of {name}, {winner.name}, {chosen}, each by a network that had not seen the case.",)


def _candidate(score: Score) -> CandidateScore:
    ahead = score.winner_ahead_by
    lead = (ahead.dice, ahead.low, ahead.high) if ahead else None
    return CandidateScore(score.name, score.num_cases, score.dice, score.dice_per_label, lead)


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
