"""What one stage of a cascade hands to the next: written by whole-case validation, found and checked here."""

from dataclasses import replace
from pathlib import Path

from segfw.core.errors import ArtefactError, UsageError
from segfw.data.next_stage import Description, PreviousStage, is_committed
from segfw.data.store import Store
from segfw.stages.job import Job
from segfw.stages.runs import FinishedFold, load_finished, next_stage, run_folder
from segfw.training.run import NEXT_STAGE, NextStage
from segfw.training.validation import made_from_of


def is_handed_on(found: FinishedFold, to: NextStage | None) -> bool:
    """Whether the fold's segmentations for the stage `to` are there and made from its weights; also with none to make.

    `to`: None where no stage follows.
    """
    if to is None or not found.run.val_cases:
        return True
    return is_committed(found.folder / NEXT_STAGE, _description(found, to), found.run.val_cases)


def require_previous(job: Job, configuration: str) -> PreviousStage:
    """Return the segmentations of every case by the stage before `configuration`, each by the fold that left it out.

    `ArtefactError` that names the fold or case for which they are missing, stale, or on another grid than the store's.
    """
    previous = job.plan.configuration(configuration).previous_stage
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
    store = Store.open(job.workspace.store(job.store_name(job.plan, job.plan.configuration(configuration))))
    return PreviousStage.open(folders, {name: store.record(name).resampled_shape for name in store.cases})


def _description(found: FinishedFold, to: NextStage) -> Description:
    return made_from_of(replace(found.run, next_stage=to), found.done.weights)
