"""What one stage of a cascade hands to the next: written by whole-case validation, found and checked here."""

import logging
from dataclasses import replace
from pathlib import Path

from segfw.core.errors import ArtefactError, UsageError
from segfw.core.plan import Plan
from segfw.data.next_stage import Description, PreviousStage, hash_of, is_committed
from segfw.data.store import Store
from segfw.stages.job import Job
from segfw.stages.trainings.runs import CONFIG, FinishedFold, load_finished, load_run, next_stage, run_folder
from segfw.training.run import FULL, NEXT_STAGE, FoldRun, NextStage, PreviousRuns
from segfw.training.validation import made_from_of

log = logging.getLogger(__name__)


def is_handed_on(found: FinishedFold, to: NextStage | None) -> bool:
    """Whether the fold's segmentations for the stage `to` are there and made from its weights; also with none to make.

    `to`: None where no stage follows.
    """
    if to is None or not found.run.val_cases:
        return True
    return is_committed(found.folder / NEXT_STAGE, _description(found, to), found.run.val_cases)


def require_previous(job: Job, run: FoldRun) -> PreviousRuns:
    """Return what the second stage `run` is fed by: of each case, the segmentation by the fold that left it out.

    `ArtefactError` that names the fold or case for which it is missing, stale, or on another grid than the store's.
    """
    configuration = run.configuration_name
    previous = run.configuration.previous_stage
    if previous is None:
        raise UsageError(f"configuration {configuration} has no previous stage")
    to = next_stage(job.plan, previous)
    if to is None or to.name != configuration:
        raise UsageError(f"configuration {previous} must name {configuration} as next_stage, got {to and to.name!r}")
    folders: dict[Path, Description] = {}
    for fold in range(len(job.splits)):
        folder = run_folder(job, previous, fold)
        found = load_finished(folder)
        if found is None:
            raise ArtefactError(
                f"{configuration} needs the segmentations of {previous}, whose fold {fold} is not finished ({folder}); "
                f"train it first: configurations=[{previous}] folds=cv"
            )
        folders[folder / NEXT_STAGE] = _description(found, to)
    store = Store.open(Path(run.store))
    cases = (*run.train_cases, *run.val_cases)
    PreviousStage.open(folders, {case: store.record(case).resampled_shape for case in cases})
    return PreviousRuns(previous, tuple(map(str, folders)), tuple(map(hash_of, folders)))


def changed_folds(folder: Path, run: FoldRun) -> tuple[int, ...]:
    """Return the folds of the previous stage whose segmentations are others now than when `run` in `folder` began.

    None for a run without a previous stage. The first stage is looked for beside the second, wherever both lie now.
    """
    if run.previous is None:
        return ()
    noted = zip(map(Path, run.previous.folders), run.previous.manifests, strict=True)
    beside = folder.parent.parent / run.previous.name
    now = [hash_of(beside / path.parent.name / NEXT_STAGE) == manifest for path, manifest in noted]
    return tuple(fold for fold, same in enumerate(now) if not same)


def refuse_other_previous(folder: Path, wanted: FoldRun) -> None:
    """Raise `ArtefactError` where the training in `folder` was begun with other segmentations than there are now."""
    if wanted.previous is None or not (folder / CONFIG).exists():
        return
    before = load_run(folder)
    changed = changed_folds(folder, before)
    if before.previous is None or changed:
        name, previous = wanted.configuration_name, wanted.previous.name
        raise ArtefactError(
            f"{folder} is stale: it was trained with other segmentations of {previous} than there are now (folds "
            f"{', '.join(map(str, changed))} have changed since); train it anew with configurations=[{name}] "
            "overwrite=true, or keep both with name=ANOTHER"
        )


def without_stale(folds: list[FinishedFold]) -> list[FinishedFold]:
    """Return `folds` but for those of a second stage that were fed by other segmentations than there are now; warn."""
    changed = {fold.folder: changed_folds(fold.folder, fold.run) for fold in folds}
    for fold in folds:
        if fold.run.previous is not None and changed[fold.folder]:
            log.warning(
                "%s is left out: the segmentations of %s by its folds %s, which it was trained with, have changed; "
                "train it anew with overwrite=true",
                *(fold.folder, fold.run.previous.name, ", ".join(map(str, changed[fold.folder]))),
            )
    return [fold for fold in folds if not changed[fold.folder]]


def with_first_stages(members: list[FinishedFold], folds: list[FinishedFold]) -> list[FinishedFold]:
    """Return `members` and behind them, for each stage, the folds of the stage that it is fed by.

    A model of every case is fed by a first stage of every case if there is one, else by the folds of cross-validation,
    which also made the segmentations that it was trained with. Raises `ArtefactError` where there is neither.
    """
    last = members[-1]
    previous = last.run.configuration.previous_stage
    if previous is None:
        return members
    beside = [fold for fold in folds if fold.folder.parent == last.folder.parent.parent / previous]
    whole = [fold for fold in beside if fold.run.fold == FULL]
    first = whole if whole and last.run.fold == FULL else [fold for fold in beside if fold.run.fold != FULL]
    if not first:
        raise ArtefactError(f"{last.candidate} is fed by {previous}, of which no fold is finished beside {last.folder}")
    return [*members, *with_first_stages(first, folds)]


def joint_plan(runs: list[FoldRun]) -> Plan:
    """Return the plan of a model made of `runs`: their configurations, with the stages that are among them.

    Raises `ArtefactError` where the runs' plans differ in what is common to configurations.
    """
    plans = [replace(run.plan, configurations={}) for run in runs]
    if other := next((run for run, plan in zip(runs, plans, strict=True) if plan != plans[0]), None):
        raise ArtefactError(
            f"{runs[0].configuration_name} and {other.configuration_name} were trained by different plans and cannot "
            "predict together; train both anew with overwrite=true"
        )
    trained = {run.configuration_name: run.configuration for run in runs}
    kept = {name: c if c.next_stage in trained else replace(c, next_stage=None) for name, c in trained.items()}
    return replace(plans[0], configurations=kept)


def _description(found: FinishedFold, to: NextStage) -> Description:
    return made_from_of(replace(found.run, next_stage=to), found.done.weights)
