"""Stage `train`: one run per chosen configuration and fold.

A finished run is skipped, an interrupted one goes on, one with more epochs asked for is extended. A run that was made
with other training-relevant settings is never touched: another `name` keeps both, `overwrite=true` replaces it.
"""

import logging
import math
import platform
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from segfw.core.errors import ArtefactError
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.support.durations import parse_duration
from segfw.core.support.files import discard, remove_remains, remove_remains_below, sha256, write_text
from segfw.core.support.importing import TARGET, import_object
from segfw.core.support.locks import Lock, hold
from segfw.core.support.ranks import launched_ranks
from segfw.core.support.words import counted
from segfw.core.version import __version__
from segfw.nn.build import check_arguments
from segfw.nn.own_loss import try_own_loss
from segfw.nn.own_network import check_portable
from segfw.stages.costs import announce_cost
from segfw.stages.ending import StageEnd, nothing_to_do, wrote
from segfw.stages.job import Job
from segfw.stages.preprocess import require_store
from segfw.stages.trainings.cascade import changed_folds, is_handed_on, refuse_other_previous, require_previous
from segfw.stages.trainings.failures import forget_failure, noting_failure
from segfw.stages.trainings.fit import fit_in_children, fit_with_called
from segfw.stages.trainings.fold_files import FoldFiles, files_of, fold_io
from segfw.stages.trainings.followers import check_followers, following
from segfw.stages.trainings.pretrained import check_pretrained, read_pretrained
from segfw.stages.trainings.runs import (
    CONFIG,
    REMEDY,
    Done,
    config_of,
    load_finished,
    make_run,
    next_stage,
    run_folder,
)
from segfw.stages.trainings.sameness import TRAINING, check_names, training_hash
from segfw.training.cache import hindrance_of, refuse_hindered
from segfw.training.callbacks.own import build_callbacks
from segfw.training.checkpoints import can_go_on
from segfw.training.datamodule import check_input
from segfw.training.fit import FoldResult, fit_fold
from segfw.training.mirroring import warn_of_pairs, with_mirror_axes
from segfw.training.pretrained import Pretrained, match
from segfw.training.run import (
    CHECKPOINTS,
    DONE,
    LAST,
    NEXT_STAGE,
    PROGRESS,
    VALIDATION,
    FoldName,
    FoldRun,
    validated_with,
)
from segfw.training.team import Team, choose_team
from segfw.workspace import digest, save_artefact, to_yaml

log = logging.getLogger(__name__)


def check(settings: ExperimentSettings) -> None:
    """Raise at once, before hours of preprocessing, what training would refuse: device, weights, code of the user's."""
    choose_team(settings.trainer, launched_ranks())
    build_callbacks(settings.callbacks)
    check_followers(settings.logger)
    check_pretrained(settings.pretrained)
    check_arguments(settings.network)
    check_portable(settings.network)
    refuse_hindered(settings.data.cache, hindrance_of(settings.augmentation))
    if settings.network.target is not None:
        import_object(settings.network.target, f"network.{TARGET}")
    if settings.loss.target is not None:
        import_object(settings.loss.target, f"loss.{TARGET}")


def check_planned(job: Job) -> None:
    """Raise likewise what training would refuse of what is planned: batches for these devices, patches, losses."""
    left = [(name, fold) for name in job.configurations for fold in job.folds if not _is_done(job, name, fold)]
    if left:
        _check_runs([make_run(job, *each) for each in left], choose_team(job.settings.trainer, launched_ranks()))


def run(job: Job) -> StageEnd:
    """Train what is not trained yet."""
    settings = job.settings
    check_names(job)
    waiting = waiting_runs(job)
    for configuration in job.configurations:
        for fold in job.folds:
            if (configuration, fold) not in waiting:
                log.info("train %s fold %s: nothing to do, it is finished", configuration, fold)
    place = job.workspace.runs(settings.name)
    if not waiting:
        return nothing_to_do(place)
    team = choose_team(settings.trainer, launched_ranks())
    log.info("train: %s", team.description)
    runs = [make_run(job, configuration, fold) for configuration, fold in waiting]
    _check_runs(runs, team)
    for configuration in job.configurations:
        require_store(job, configuration)
    runs = [with_mirror_axes(fold_run) for fold_run in runs]
    warn_of_pairs(runs)
    announce_cost(runs, team)
    deadline = _deadline(settings)
    for fold_run in runs:
        _train(job, fold_run, team, deadline)
    asked = len(job.configurations) * len(job.folds)
    return wrote(f"{counted(len(runs), 'run')} of {asked} asked for", place)


def mean_score(job: Job) -> float | None:
    """Return the mean whole-case Dice over the chosen configurations and folds; None where one has no score."""
    chosen = [load_finished(run_folder(job, name, fold)) for name in job.configurations for fold in job.folds]
    dice = [found.done.dice for found in chosen if found is not None and found.done.dice is not None]
    return sum(dice) / len(dice) if len(dice) == len(chosen) else None


def _check_runs(runs: Sequence[FoldRun], team: Team) -> None:
    for fold_run in runs:
        team.devices_for(fold_run.configuration.batch_size, fold_run.configuration_name)
        check_input(fold_run)
        try_own_loss(fold_run.loss, fold_run.plan.labels, fold_run.configuration.patch_size)


def _deadline(settings: ExperimentSettings) -> float:
    """Return when (`time.monotonic`) training has to stop, whatever is done; where time is the horizon, never."""
    limit = settings.trainer.max_time
    if limit is None or settings.schedule.horizon == "time":
        return math.inf
    return time.monotonic() + parse_duration(limit, "trainer.max_time")


def waiting_runs(job: Job) -> list[tuple[str, FoldName]]:
    """Return what is not finished, and every stage whose previous one is not: it may become stale."""
    waiting: list[tuple[str, FoldName]] = []
    for configuration in job.configurations:
        previous = job.plan.configuration(configuration).previous_stage
        anew = any(name == previous for name, _ in waiting)
        begun = [fold for fold in job.folds if (run_folder(job, configuration, fold) / CONFIG).exists()]
        if anew and begun and not job.settings.overwrite:
            log.warning(
                "train %s: should %s segment the cases otherwise now, its folds %s will have to be trained anew",
                *(configuration, previous, ", ".join(map(str, begun))),
            )
        waiting += [(configuration, f) for f in job.folds if anew or not _is_done(job, configuration, f)]
    return waiting


def _is_done(job: Job, configuration: str, fold: FoldName) -> bool:
    """Whether the run is finished for as many epochs, validated and handed on to the next stage as asked."""
    if job.settings.overwrite:
        return False
    found = load_finished(run_folder(job, configuration, fold))
    if found is None:
        return False
    wanted = job.settings
    if not found.done.suffices(wanted.schedule, wanted.trainer):
        return False
    if found.done.inference != digest(validated_with(wanted.inference)):
        return False
    if changed_folds(found.folder, found.run):
        return False
    return is_handed_on(found, next_stage(job.plan, configuration))


def _train(job: Job, fold_run: FoldRun, team: Team, deadline: float) -> None:
    folder = run_folder(job, fold_run.configuration_name, fold_run.fold)
    what = f"{fold_run.configuration_name} fold {fold_run.fold}"
    with hold(job.workspace.lock(f"run {job.workspace.relative(folder)}"), what) as lock:
        if _is_done(job, fold_run.configuration_name, fold_run.fold):
            log.info("train %s: nothing to do, it is finished by now", what)
            return
        if fold_run.configuration.previous_stage is not None:
            fold_run = replace(fold_run, previous=require_previous(job, fold_run))
        if not job.settings.overwrite:
            refuse_other_previous(folder, fold_run)
        pretrained = _pretrained(job, folder, fold_run)
        _begin(job, folder, fold_run)
        started = time.time()
        with noting_failure(folder, lock):
            result = _fit(job, fold_run, team, files_of(job, fold_run, lock), pretrained, deadline)
            _finish(job, folder, lock, result, time.time() - started)
        how = f" early, since {result.ended.reason}" if result.ended.kind == "early" else ""
        log.info("train %s: finished after %s%s, %s", what, counted(result.epochs, "epoch"), how, folder)


def _fit(
    job: Job, fold_run: FoldRun, team: Team, files: FoldFiles, pretrained: Pretrained | None, deadline: float
) -> FoldResult:
    """Train here on one device, in child processes on several, or with the processes that a launcher has started."""
    folder = run_folder(job, fold_run.configuration_name, fold_run.fold)
    if team.ranks.together:
        return fit_with_called(folder, files, job.workspace, team.ranks, deadline)
    devices = team.devices_for(fold_run.configuration.batch_size, fold_run.configuration_name)
    if devices > 1:
        return fit_in_children(folder, files, devices, deadline)
    callbacks, io = build_callbacks(job.settings.callbacks), fold_io(files)
    with following(fold_run, folder, io) as followers:
        return fit_fold(fold_run, folder, team.device, io, (*callbacks, *followers), pretrained, deadline)


def _begin(job: Job, folder: Path, fold_run: FoldRun) -> None:
    """Prepare the run's folder: emptied when overwriting, otherwise kept; validation is redone when weights change."""
    remove_remains(folder)
    remove_remains_below(folder)
    if job.settings.overwrite and folder.exists():
        log.info("train: %s is replaced (overwrite=true)", folder)
        discard(folder)
    if can_go_on(folder / CHECKPOINTS) and not (folder / CONFIG).exists():
        raise ArtefactError(
            f"{folder} holds a checkpoint but no {CONFIG}, so nobody knows what it was trained with; "
            "put the file back, move the folder away, or replace it with overwrite=true"
        )
    if (folder / DONE).exists():
        if not can_go_on(folder / CHECKPOINTS):
            raise ArtefactError(
                f"{folder} is finished, says its {DONE}, but its weights are gone ({CHECKPOINTS}/{LAST}); {REMEDY}"
            )
        (folder / DONE).unlink()
        for made in (VALIDATION, NEXT_STAGE):
            shutil.rmtree(folder / made, ignore_errors=True)
    forget_failure(folder)
    config = config_of(job, fold_run)
    text = to_yaml(config, "Everything that determined this run.")
    save_artefact(folder / CONFIG, text, {TRAINING: training_hash(config)})


def _pretrained(job: Job, folder: Path, fold_run: FoldRun) -> Pretrained | None:
    """Return what a fresh training begins with; None for random weights and where a training goes on.

    What does not fit is refused here, before the run's folder says that it is one.
    """
    goes_on = can_go_on(folder / CHECKPOINTS) and not job.settings.overwrite
    if fold_run.pretrained is None or goes_on:
        return None
    pretrained = read_pretrained(fold_run.pretrained, fold_run.configuration_name, fold_run.fold)
    match(pretrained, fold_run)
    return pretrained


def _finish(job: Job, folder: Path, lock: Lock, result: FoldResult, seconds: float) -> None:
    mean = result.scores.mean if result.scores else {}
    done = Done(
        epochs=result.epochs,
        seconds=round(seconds),
        weights=sha256(result.checkpoint),
        inference=digest(validated_with(job.settings.inference)),
        patch_dice_ema=result.patch_dice_ema,
        dice=None if result.scores is None else result.scores.foreground_mean["dice"],
        dice_per_label={name: row["dice"] for name, row in mean.items()},
        ended=result.ended.kind,
        reason=result.ended.reason,
        training_seconds=round(result.seconds, 1),
        machine=result.machine.description,
        peak_memory_gb=_rounded(result.machine.memory_gb),
        peak_device_memory_gb=_rounded(result.machine.device_memory_gb),
        versions={"segfw": __version__, "torch": str(torch.__version__), "python": platform.python_version()},
    )
    lock.check()
    write_text(folder / DONE, to_yaml(done, "Written last: this fold is finished."))
    (folder / PROGRESS).unlink(missing_ok=True)


def _rounded(memory_gb: float | None) -> float | None:
    return None if memory_gb is None else round(memory_gb, 3)
