"""The competition of configurations and ensembles on finished folds, from their scores to the whole table.

A pure function of what lies under runs/<name>: the same folds give the same table.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from segfw.core.errors import ArtefactError
from segfw.core.scoring.bootstrap import LEAST_UNITS, LEVEL, RESAMPLES, SEED, paired_difference
from segfw.core.scoring.cross_fitting import CrossFitted, cross_fit
from segfw.core.scoring.metrics import CaseMetrics
from segfw.core.scoring.postprocessing import Step
from segfw.core.scoring.postprocessing_choice import Choice, determine
from segfw.core.scoring.selection import Candidate, Difference, Selection, select
from segfw.core.scoring.selection_record import SelectionRecord
from segfw.stages.dataset.groups import groups_of
from segfw.stages.job import Job
from segfw.stages.selection.contestants import Contestant, ensemble_contestants, single_contestants
from segfw.stages.selection.missing_logits import MissingLogits
from segfw.stages.selection.outcomes import Outcomes
from segfw.stages.trainings.runs import FinishedFold

log = logging.getLogger(__name__)

Steps = tuple[Step, ...]


def compete(job: Job, scored: list[FinishedFold], finished: list[FinishedFold]) -> SelectionRecord:
    """Score every contestant among the `scored` folds and return the table; `finished`: all folds, for first stages."""
    missing = MissingLogits(job.settings.trainer, job.settings.network.target)
    folder = job.workspace.selection(job.settings.name).with_suffix("")
    singles = single_contestants(scored)
    formed, not_formed = ensemble_contestants(singles, finished, job.settings.selection.ensembles)
    outcomes: dict[str, Outcomes] = {}
    candidates: list[Candidate] = []
    try_again: list[str] = []
    for contestant in (*singles, *formed):
        outcome = Outcomes(job, contestant, folder, missing)
        try:
            candidates.append(outcome.candidate())
        except ArtefactError as error:
            not_formed[contestant.name] = str(error)
            try_again.append(contestant.name)
            continue
        outcomes[contestant.name] = outcome
    for name, reason in not_formed.items():
        log.warning("select: without the ensemble %s: %s", name, reason)
    table = _table(job, select(candidates), candidates, outcomes)
    if not job.settings.selection.keep_logits:
        missing.remove()
    return replace(table, not_formed=not_formed, try_again=tuple(try_again))


def winner_of(record: SelectionRecord, scored: list[FinishedFold]) -> Contestant:
    """Return the contestant that won, with its folds."""
    return Contestant(record.winner, {m: [f for f in scored if f.candidate == m] for m in record.best.members})


def _table(
    job: Job, selection: Selection, candidates: Sequence[Candidate], outcomes: dict[str, Outcomes]
) -> SelectionRecord:
    groups = groups_of(job.settings.split, job.record)
    best = next(candidate for candidate in candidates if candidate.name == selection.winner)
    leads = {c.name: paired_difference(best, c, groups) for c in candidates if c is not best}
    units = "cases" if len(set(groups.values())) == len(groups) else "groups of cases"
    return SelectionRecord(
        winner=selection.winner,
        selection_score=selection.best.selection_score,
        cross_fitted=_cross_fitted(job, candidates, outcomes),
        postprocessing=_postprocessed(job, outcomes[best.name]),
        same_cases=selection.same_cases,
        num_common=selection.num_common,
        scores=tuple(replace(score, winner_ahead_by=leads.get(score.name)) for score in selection.scores),
        not_formed={},
        intervals=_intervals(leads.values(), units),
    )


def _intervals(leads: Iterable[Difference], units: str) -> str:
    """Say how the intervals of the leads were made; where none has one, why."""
    if all(lead.low is None for lead in leads):
        return f"none, there are fewer than {LEAST_UNITS} cases or groups"
    return (
        f"{LEVEL:.0%} percentile interval of the paired bootstrap over {units}, {RESAMPLES} resamples, seed "
        f"{SEED} (Efron, Tibshirani: An Introduction to the Bootstrap, 1993)"
    )


def _cross_fitted(job: Job, candidates: Sequence[Candidate], outcomes: dict[str, Outcomes]) -> CrossFitted:
    """Cross-fit on the cases that the dataset still has, since they are read again."""

    def rescored(candidate: Candidate, steps: Steps) -> Sequence[CaseMetrics]:
        return outcomes[candidate.name].candidate(steps, candidate.outcomes).cases

    def found(candidate: Candidate) -> Steps:
        return _determined(job, outcomes[candidate.name], candidate).steps

    return cross_fit([c.only(set(outcomes[c.name].in_dataset)) for c in candidates], found, rescored)


def _postprocessed(job: Job, outcome: Outcomes) -> Choice | None:
    """Find the winner's postprocessing on all its cases that the dataset still has."""
    own = outcome.candidate(keys=outcome.in_dataset)
    return _determined(job, outcome, own) if own.cases else None


def _determined(job: Job, outcome: Outcomes, candidate: Candidate) -> Choice:
    """Return the steps that improve the candidate on its cases.

    The least volumes to try are taken from the components of all cases, whichever are asked for here: no reference has
    a part in them, and folds that try the same steps share the work of scoring them.
    """
    keys = frozenset(candidate.outcomes)
    return determine(
        outcome.contestant.all_folds[0].run.plan.labels,
        lambda steps: outcome.candidate(steps, keys).cases,
        outcome.volumes,
        job.settings.postprocessing,
    )
