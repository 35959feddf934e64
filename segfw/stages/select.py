"""Stage `select`: score every configuration on its finished folds and package the best.

A pure function of what lies under runs/<name>: any later command may call it again, and it changes nothing when no
fold has been added.
"""

import logging
from dataclasses import replace

from segfw.core.conversion import from_plain
from segfw.core.errors import ArtefactError
from segfw.core.locks import hold
from segfw.core.selection import Candidate, Score, Selection, score, select
from segfw.core.splits import Fold
from segfw.data.augmentation import mirror_axes
from segfw.inference.bundle import Bundle, Member, load_provenance, save_bundle
from segfw.stages.cascade import joint_plan, with_first_stages, without_stale
from segfw.stages.job import ALGORITHMS, Job
from segfw.stages.provenance import make_provenance
from segfw.stages.runs import FinishedFold, load_finished
from segfw.training.checkpoints import network_weights
from segfw.training.run import CHECKPOINTS, DONE, LAST, FoldRun
from segfw.workspace import MadeFrom, State, Workspace, digest, load_yaml, save_artefact, standing, to_yaml

log = logging.getLogger(__name__)


def run(job: Job) -> None:
    """Write selection/<name>.yaml and models/<name>/ from every finished fold of this name."""
    name = job.settings.name
    folds = without_stale(finished_folds(job.workspace, name))
    if not folds:
        raise ArtefactError(
            f"select: no fold of name={name} is finished under {job.workspace.runs(name)}; add the stage train"
        )
    _name_missing(job, folds)
    with hold(job.workspace.lock(f"selection {name}"), f"the selection {name}") as lock:
        winner = _select(job, folds)
        members = with_first_stages(_members([fold for fold in folds if fold.candidate == winner]), folds)
        inputs = {"winner": digest([fold.done for fold in members]), "algorithm": ALGORITHMS["select"]}
        lock.check()
        _package(job, members, inputs)


def finished_folds(workspace: Workspace, name: str) -> list[FinishedFold]:
    """Return every finished fold under runs/<name>, in the order of their folders."""
    folders = sorted(path.parent for path in workspace.runs(name).glob(f"*/*/*/fold_*/{DONE}"))
    return [fold for fold in map(load_finished, folders) if fold is not None]


def load_selection(workspace: Workspace, name: str) -> Selection | None:
    """Return the selection on disk, None where there is none."""
    path = workspace.selection(name)
    return from_plain(Selection, load_yaml(path), path.name) if path.exists() else None


def best_score(job: Job) -> float | None:
    """Return the winner's mean validation Dice, None where nothing was scored."""
    selection = load_selection(job.workspace, job.settings.name)
    return selection.best.dice if selection else None


def _select(job: Job, folds: list[FinishedFold]) -> str:
    """Score the candidates, save the table and return the winner; without any score the first, and say so."""
    scored = [fold for fold in folds if fold.scores is not None]
    if not scored:
        log.info("select: nothing was validated, so %s is packaged without comparison", folds[0].candidate)
        return folds[0].candidate
    names = list(dict.fromkeys(fold.candidate for fold in scored))
    selection = select([_candidate(name, [fold for fold in scored if fold.candidate == name]) for name in names])
    path = job.workspace.selection(job.settings.name)
    inputs = {"folds": digest([[fold.candidate, fold.done] for fold in scored]), "algorithm": ALGORITHMS["select"]}
    if standing(path, inputs).state is State.FRESH:
        log.info("select: nothing to do, %s is up to date", path)
        return selection.winner
    comment = "Every candidate with its whole-case cross-validation score. These scores chose the winner."
    save_artefact(path, to_yaml(selection, comment), inputs)
    for reached in selection.scores:
        log.info("select: %s%s", _in_words(reached), "  <- winner" if reached.name == selection.winner else "")
    if not selection.same_cases:
        log.warning("select: the candidates were scored on different cases (folds are missing); compare them with care")
    log.info("select: wrote %s", path)
    return selection.winner


def _members(folds: list[FinishedFold]) -> list[FinishedFold]:
    """Return the folds of cross-validation, which have a score; the model of every case only where there are none."""
    scored = [fold for fold in folds if fold.scores is not None]
    return scored or folds


def _candidate(name: str, folds: list[FinishedFold]) -> Candidate:
    cases = tuple(case for fold in folds if fold.scores for case in fold.scores.cases)
    numbers = tuple(fold.run.fold for fold in folds if isinstance(fold.run.fold, int))
    return Candidate(name, (folds[0].run.configuration_name,), numbers, cases)


def _in_words(reached: Score) -> str:
    labels = ", ".join(f"{name} {dice:.4f}" for name, dice in reached.dice_per_label.items())
    cases = f"{reached.num_cases} cases of folds {list(reached.folds)}"
    return f"{reached.name}: Dice {reached.dice:.4f} ({labels}) on {cases}"


def _name_missing(job: Job, folds: list[FinishedFold]) -> None:
    for name in dict.fromkeys(fold.candidate for fold in folds):
        there = {fold.run.fold for fold in folds if fold.candidate == name}
        missing = [k for k in range(len(job.splits)) if k not in there]
        if missing and "full" not in there:
            log.info("select: %s has no finished fold %s", name, ", ".join(map(str, missing)))
    other = [f"{fold.candidate} fold {fold.run.fold}" for fold in folds if not _is_of(job.splits, fold.run)]
    if other:
        log.warning("select: trained on other cases than splits.json says now: %s", ", ".join(other))


def _is_of(splits: tuple[Fold, ...], run: FoldRun) -> bool:
    """Whether the run's fold is one of `splits`, with the same cases; `full` is of any."""
    if isinstance(run.fold, str):
        return True
    return run.fold < len(splits) and (run.train_cases, run.val_cases) == (splits[run.fold].train, splits[run.fold].val)


def _package(job: Job, members: list[FinishedFold], inputs: MadeFrom) -> None:
    """Write models/<name>/ from the members' final weights, unless the one on disk was made from the same."""
    folder = job.workspace.model(job.settings.name)
    there = load_provenance(folder)
    if there is not None and there.made_from == inputs:
        log.info("select: nothing to do, the model %s is up to date", folder)
        return
    first = members[0].run
    scored = [member for member in members if member.candidate == members[0].candidate]
    reached = None if members[0].scores is None else score(_candidate("winner", scored))
    bundle = Bundle(
        plan=joint_plan([member.run for member in members]),
        members=tuple(_member(member) for member in members),
        mirror_axes=_shared_mirror_axes(members),
        inference=replace(first.inference, memory_gb=None),  # which is for the machine at hand
        provenance=make_provenance(job, members, reached, inputs),
    )
    save_bundle(folder, bundle)
    log.info(
        "select: wrote %s (%s, %d member%s)",
        folder,
        members[0].candidate,
        len(members),
        "s" if len(members) > 1 else "",
    )


def _shared_mirror_axes(members: list[FinishedFold]) -> tuple[int, ...]:
    """Return the axes along which every member was trained with mirroring: a rule of the data can find others."""
    axes = [mirror_axes(m.run.resolved_augmentation, len(m.run.configuration.patch_size)) for m in members]
    return tuple(axis for axis in axes[0] if all(axis in other for other in axes))


def _member(fold: FinishedFold) -> Member:
    weights = network_weights(fold.folder / CHECKPOINTS / LAST)
    run, network = fold.run, fold.run.network
    return Member(run.configuration_name, run.fold, network.name, weights, network.target, network.arguments)
