"""What one stage of a cascade hands to the next: written by whole-case validation, found and checked here."""

from dataclasses import replace
from pathlib import Path

from segfw.core.errors import ArtefactError, UsageError
from segfw.data.next_stage import Description, PreviousStage, hash_of, is_committed
from segfw.data.store import Store
from segfw.stages.job import Job
from segfw.stages.runs import CONFIG, FinishedFold, load_finished, load_run, next_stage, run_folder
from segfw.training.run import NEXT_STAGE, FoldRun, NextStage, PreviousRuns
from segfw.training.validation import made_from_of


def is_handed_on(found: FinishedFold, to: NextStage | None) -> bool:
    """Whether the fold's segmentations for the stage `to` are there and made from its weights; also with none to make.

    `to`: None where no stage follows.
    """
    if to is None or not found.run.val_cases:
        return True
    return is_committed(found.folder / NEXT_STAGE, _description(found, to), found.run.val_cases)


def require_previous(job: Job, run: FoldRun) -> PreviousRuns:
    """Return what the second stage `run` is fed by: of each of its cases, the segmentation by the fold that left it out.

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
    PreviousStage.open(
        folders, {name: store.record(name).resampled_shape for name in (*run.train_cases, *run.val_cases)}
    )
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


def _description(found: FinishedFold, to: NextStage) -> Description:
    return made_from_of(replace(found.run, next_stage=to), found.done.weights)
