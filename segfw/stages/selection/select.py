"""Stage `select`: score every configuration and ensemble on its finished folds and package the best.

A pure function of what lies under runs/<name>: any later command may call it again, and it changes nothing when no
fold has been added.
"""

import logging

from segfw.core.cases.inner_split import is_inner_split
from segfw.core.cases.splits import Fold
from segfw.core.errors import ArtefactError, SegfwError
from segfw.core.scoring.bootstrap import NO_INTERVAL
from segfw.core.scoring.postprocessing_choice import Choice
from segfw.core.scoring.selection import Score
from segfw.core.scoring.selection_record import SelectionRecord
from segfw.core.support.conversion import from_plain
from segfw.core.support.files import remove_remains_below
from segfw.core.support.locks import Lock, hold
from segfw.core.support.words import counted
from segfw.stages.dataset.groups import groups_of
from segfw.stages.ending import StageEnd, nothing_to_do, wrote
from segfw.stages.job import Job
from segfw.stages.models.packaging import package
from segfw.stages.selection.competition import compete, winner_of
from segfw.stages.selection.contestants import model_members
from segfw.stages.trainings.cascade import with_first_stages, without_stale
from segfw.stages.trainings.followers import tell_selection
from segfw.stages.trainings.runs import FinishedFold, load_finished, selection_inputs
from segfw.training.run import DONE, FoldRun
from segfw.workspace import State, Workspace, digest, load_yaml, save_artefact, standing, to_yaml

log = logging.getLogger(__name__)

COMMENT = (
    "Every candidate with its whole-case cross-validation score. Selection scores chose the winner, which makes them "
    "look better\nthan they are; the cross-fitted score does not: each of its cases had no part in the choice."
)


def run(job: Job) -> StageEnd:
    """Write selection/<name>.yaml and models/<name>/ from every finished fold of this name."""
    name = job.settings.name
    folds = without_stale(finished_folds(job.workspace, name))
    if not folds:
        raise ArtefactError(
            f"select: no fold of name={name} is finished under {job.workspace.runs(name)}; add the stage train"
        )
    _name_missing(job, folds)
    scored = [fold for fold in folds if fold.scores is not None]
    with hold(job.workspace.lock(f"selection {name}"), f"the selection {name}") as lock:
        for folder in (job.workspace.selection(name).with_suffix(""), job.workspace.model(name)):
            remove_remains_below(folder)
        if not scored:
            log.info("select: nothing was validated, so %s is packaged without comparison", folds[0].candidate)
            members = with_first_stages([fold for fold in folds if fold.candidate == folds[0].candidate], folds)
            lock.check()
            alone = (folds[0].run.configuration_name,)
            packaged = package(job, members, alone, None)
            if packaged:
                tell_selection(job, None)
            return _end(job, alone, packaged, None)
        record, is_new = _selected(job, scored, folds, lock)
        winner = winner_of(record, scored)
        members = model_members(winner, folds)
        deciding = tuple(of_member[0].run.configuration_name for of_member in winner.folds.values())
        lock.check()
        packaged = package(job, members, deciding, record)
        if packaged or is_new:
            tell_selection(job, record)
        return _end(job, deciding, packaged, is_new)


def finished_folds(workspace: Workspace, name: str) -> list[FinishedFold]:
    """Return every finished fold under runs/<name>, in the order of their folders."""
    folders = sorted(path.parent for path in workspace.runs(name).glob(f"*/*/*/fold_*/{DONE}"))
    return [fold for fold in map(load_finished, folders) if fold is not None]


def load_selection(workspace: Workspace, name: str) -> SelectionRecord | None:
    """Return the selection on disk, None where there is none."""
    path = workspace.selection(name)
    return from_plain(SelectionRecord, load_yaml(path), path.name) if path.exists() else None


def best_score(job: Job) -> float | None:
    """Return the winner's selection score, its mean validation Dice; None where nothing was scored."""
    selection = load_selection(job.workspace, job.settings.name)
    return selection.selection_score if selection else None


def _end(job: Job, deciding: tuple[str, ...], packaged: bool, tabled: bool | None) -> StageEnd:
    """Say which of table and model were written; `tabled` is None where nothing was compared."""
    table, model = job.workspace.selection(job.settings.name), job.workspace.model(job.settings.name)
    if packaged or tabled:
        places = ([table] if tabled else []) + ([model] if packaged else [])
        return wrote(" + ".join(deciding), *places)
    return nothing_to_do(*([] if tabled is None else [table]), model)


def _selected(
    job: Job, scored: list[FinishedFold], folds: list[FinishedFold], lock: Lock
) -> tuple[SelectionRecord, bool]:
    """Return the table on disk where it is up to date, else make and save it; and whether it was made."""
    path = job.workspace.selection(job.settings.name)
    inputs = {
        **selection_inputs(job.settings, [(fold.candidate, fold.done) for fold in scored]),
        "groups": digest(groups_of(job.settings.split, job.record)),
    }
    if standing(path, inputs).state is State.FRESH:
        try:
            record = load_selection(job.workspace, job.settings.name)
        except SegfwError as error:
            log.warning("select: %s is made anew: %s", path, error)
        else:
            assert record is not None
            if not record.try_again:
                return record, False
    record = compete(job, scored, folds)
    lock.check()
    save_artefact(path, to_yaml(record, COMMENT), inputs)
    _tell(record)
    return record, True


def _tell(record: SelectionRecord) -> None:
    for reached in record.scores:
        log.info("select: %s%s", _in_words(reached), "  <- winner" if reached.name == record.winner else "")
    if not record.same_cases:
        decided = (
            f"{counted(record.num_common, 'case')}, which all have, decided"
            if record.num_common
            else "compare with care"
        )
        log.warning("select: the candidates were scored on different cases (folds are missing); %s", decided)
    chosen = record.postprocessing
    if chosen is not None:
        log.info("select: postprocessing: %s", _postprocessing(chosen))
    cross = record.cross_fitted
    if cross.dice is None:
        log.info("select: selection score %.4f; no cross-fitted score: %s", record.selection_score, cross.reason)
    else:
        log.info(
            "select: selection score %.4f before postprocessing; cross-fitted, postprocessing included: %.4f "
            "(each case scored by what was chosen without its fold)",
            *(record.selection_score, cross.dice),
        )


def _postprocessing(chosen: Choice) -> str:
    if not chosen.steps:
        return f"none of {counted(len(chosen.examined), 'step')} examined is worth it"
    steps = f"{len(chosen.steps)} of {counted(len(chosen.examined), 'step')} examined"
    return f"{steps}, Dice {chosen.before.foreground:.4f} without and {chosen.after.foreground:.4f} with them"


def _in_words(reached: Score) -> str:
    labels = ", ".join(f"{name} {dice:.4f}" for name, dice in reached.dice_per_label.items())
    cases = f"{counted(reached.num_cases, 'case')} of folds {list(reached.folds)}"
    lead = reached.winner_ahead_by
    text = f"{reached.name}: Dice {reached.dice:.4f} ({labels}) on {cases}"
    if lead is None:
        return text
    interval = NO_INTERVAL if lead.low is None else f"95 % interval {lead.low:+.4f} to {lead.high:+.4f}"
    return f"{text}; the winner is ahead by {lead.dice:+.4f} ({interval})"


def _name_missing(job: Job, folds: list[FinishedFold]) -> None:
    """Name the folds that a candidate lacks, also one that was asked for and has none; and those of other cases."""
    for name in dict.fromkeys([*(fold.candidate for fold in folds), *_asked_for(job)]):
        there = {fold.run.fold for fold in folds if fold.candidate == name}
        missing = [k for k in range(len(job.splits)) if k not in there]
        if not there:
            log.info("select: %s has no finished fold", name)
        elif missing and "full" not in there:
            log.info("select: %s has no finished fold %s", name, ", ".join(map(str, missing)))
    other = [f"{fold.candidate} fold {fold.run.fold}" for fold in folds if not _is_of(job.splits, fold.run)]
    if other:
        log.warning("select: trained on other cases than splits.json says now: %s", ", ".join(other))


def _asked_for(job: Job) -> list[str]:
    """Return the candidates that the command's configurations are; none where no plan tells which these are.

    Selection itself needs no plan: that it is gone or has changed since the training is no matter of its.
    """
    try:
        return [f"{job.planner}/{job.settings.network.name}/{name}" for name in job.configurations]
    except SegfwError:
        return []


def _is_of(splits: tuple[Fold, ...], run: FoldRun) -> bool:
    """Whether the run's fold is one of `splits`, with the same cases or an inner split of them; `full` is of any."""
    if isinstance(run.fold, str):
        return True
    if run.fold >= len(splits):
        return False
    fold = splits[run.fold]
    if run.inner_share is not None:
        return is_inner_split(run.train_cases, run.val_cases, fold)
    return (run.train_cases, run.val_cases) == (fold.train, fold.val[: run.trainer.limit_val_cases])
