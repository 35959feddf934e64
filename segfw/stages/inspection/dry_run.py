"""`dry_run=true`: what a command would do, stage by stage, what it would skip and why, and what it would cost.

It refuses what the command would refuse at once, and writes nothing under the output folder. Images are not read:
where the fingerprint has yet to be taken of them, it says so and ends there.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from segfw.core.cases.dataset import Dataset
from segfw.core.errors import ArtefactError, DataError, JobError
from segfw.core.settings.class_weights import weight_per_class
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.support.ranks import launched_ranks
from segfw.core.support.words import counted
from segfw.data.store_check import glance
from segfw.inference.provenance import check_texts
from segfw.io.datasets.layouts import missing_files
from segfw.nn.own_loss import try_own_loss
from segfw.stages import plan as plan_stage
from segfw.stages.costs import announce_cost
from segfw.stages.dataset.folds import find_splits
from segfw.stages.dataset.raw import find_dataset, look, workspace_of, would_be_made
from segfw.stages.dataset.record import DatasetRecord, FileRecord, load_record
from segfw.stages.dataset.verify import fresh_verification, label_presence
from segfw.stages.inspection.run_signs import compared_with_command, read_signs
from segfw.stages.inspection.run_states import judge_run
from segfw.stages.inspection.stage_states import (
    StageState,
    fingerprint_state,
    plan_state,
    report_state,
    selection_state,
)
from segfw.stages.job import Assumed, Job
from segfw.stages.plan_table import show_plan
from segfw.stages.selection.select import finished_folds
from segfw.stages.store_needs import in_reasons, refuse_lacking, store_folder, wanted_cases
from segfw.stages.trainings.runs import make_run, run_folder
from segfw.stages.trainings.sameness import check_names
from segfw.stages.trainings.train import check, waiting_runs
from segfw.training.datamodule import check_input
from segfw.training.run import CHECKPOINTS, DONE, LAST, FoldName
from segfw.training.team import choose_team
from segfw.workspace import Workspace

log = logging.getLogger(__name__)


def run(settings: ExperimentSettings) -> None:
    """Say what the command would do; raises what it would refuse at once."""
    if "train" in settings.stages:
        check(settings)
    workspace = workspace_of(settings)
    dataset = _dataset(settings)
    log.info("dry run of %s, in %s: nothing is written", settings.task.name, workspace.root)
    if dataset is None:
        log.info("dataset: would be made in %s; more can be known when it is there", settings.data_root)
        unless = ", unless what was made of the dataset before is up to date" if workspace.dataset.exists() else ""
        for stage in settings.stages:
            log.info("%s: would run%s", stage, unless)
        return
    job = Job(settings, workspace, _record(dataset, workspace))
    if "train" in settings.stages:
        check_texts(dataset)
        weight_per_class(settings.loss.class_weights, dataset.labels)
    job = _with_folds(job)
    planned = _with_plan(job)
    if planned is None:
        _ends(job, "train" in settings.stages)
        return
    missing = _preprocess(planned)
    _ends(planned, _train(planned, missing))


def _dataset(settings: ExperimentSettings) -> Dataset | None:
    """Read what the dataset is; None for one that would be made first. `DataError` where files are missing."""
    task = settings.task
    if would_be_made(task, Path(settings.data_root)) is not None:
        return None
    dataset = find_dataset(task, Path(settings.data_root), settings.data_cache)
    missing = missing_files(dataset)
    if missing:
        paths = [path for of_case in missing.values() for path in of_case]
        raise DataError(f"{counted(len(paths), 'file')} of {counted(len(missing), 'case')} missing, such as {paths[0]}")
    return dataset


def _record(dataset: Dataset, workspace: Workspace) -> DatasetRecord:
    """Return the dataset with its files' states; where nothing was made of it yet, no file has to be hashed."""
    before = load_record(workspace)
    if before is None and not workspace.fingerprint.exists():
        paths = [path for case in dataset.cases for path in case.files]
        return DatasetRecord(dataset, {path: FileRecord(0, 0, f"not read: {path}") for path in paths})
    return look(dataset, before)


def _with_folds(job: Job) -> Job:
    """Return the job with the folds that it would write; without them where they depend on labels not yet read."""
    settings, record = job.settings, job.record
    known = fresh_verification(record, settings)
    if known is not None and known.errors:
        raise JobError(f"the data have {counted(len(known.errors), 'error')}, all in {job.workspace.verification}")
    if settings.split.kind == "stratified" and settings.split.file is None and known is None:
        log.info("folds: would be made by the labels that each case holds, which are not read yet")
        return job

    def presence() -> Mapping[str, frozenset[int]]:
        return label_presence(record, settings)

    folds, kept = find_splits(settings, job.workspace, record, presence)
    if not kept:
        log.info("folds: %s would be written (%d folds)", job.workspace.splits, len(folds))
    job = replace(job, assumed=Assumed(splits=folds))
    for fold in job.folds:
        job.cases_of(fold)
    return job


def _with_plan(job: Job) -> Job | None:
    """Announce fingerprint and plan; return the job with the plan that would be run, None where it cannot be known."""
    stages, given = job.settings.stages, job.settings.planner.plan_file is not None
    state = fingerprint_state(job)
    reads = "fingerprint" in stages and _announce(state, f"reads {counted(len(job.dataset.cases), 'case')}")
    unknown = reads and not given
    if "plan" in stages and unknown:
        log.info("plan: would run, unless the new fingerprint is the one that it was made from")
    elif "plan" in stages:
        if not given:
            job.fingerprint_digest  # noqa: B018  # which refuses one that is missing or stale, as the stage does
        if _announce(plan_state(job)) and not given:
            job = replace(job, assumed=replace(job.assumed, plan=plan_stage.generate(job)))
    later = [stage for stage in ("preprocess", "train") if stage in stages]
    if unknown or job.assumed.splits is None:
        if later:
            log.info("%s: would run; what, and at what cost, cannot be known before those", " and ".join(later))
        return None
    if later:
        check_names(job)
    if later or "plan" in stages:
        show_plan(job)
        return job
    return None


def _preprocess(job: Job) -> dict[Path, dict[str, str]]:
    """Announce what each store lacks, and return it: store -> case -> reason."""
    wanted = wanted_cases(job)
    names: dict[Path, list[str]] = {}
    for name in job.configurations:
        names.setdefault(store_folder(job, name), []).append(name)
    missing = {store: glance(store, wanted) for store in names}
    if "preprocess" not in job.settings.stages:
        return missing
    for store, lacking in missing.items():
        configurations = ", ".join(names[store])
        if lacking:
            why = "; ".join(in_reasons(lacking))
            log.info("preprocess: would run: %s, %d of %d cases; %s", configurations, len(lacking), len(wanted), why)
        else:
            log.info("preprocess: would be skipped: %s, %s has every case", configurations, store)
    return missing


def _train(job: Job, missing: Mapping[Path, Mapping[str, str]]) -> bool:
    """Announce every run, and what those that are not done cost; return whether there is any."""
    settings = job.settings
    if "train" not in settings.stages:
        return False
    waiting = waiting_runs(job)
    for configuration in job.configurations:
        for fold in job.folds:
            fate = _fate(job, configuration, fold, (configuration, fold) in waiting)
            log.info("train: %s fold %s %s", configuration, fold, fate)
    if not waiting:
        return False
    team = choose_team(settings.trainer, launched_ranks())
    runs = [make_run(job, configuration, fold) for configuration, fold in waiting]
    for each in runs:
        team.devices_for(each.configuration.batch_size, each.configuration_name)
        check_input(each)
        try_own_loss(each.loss, each.plan.labels, each.configuration.patch_size)
    if "preprocess" not in settings.stages:
        for store, lacking in missing.items():
            refuse_lacking(store, lacking, len(job.dataset.cases))
    announce_cost(runs, team)
    return True


def _fate(job: Job, configuration: str, fold: FoldName, waits: bool) -> str:
    """Say what would become of a run; `ArtefactError` where the command would refuse it."""
    folder, trainer = run_folder(job, configuration, fold), job.settings.trainer
    signs = compared_with_command(job, read_signs(job.workspace, folder), configuration, fold)
    state = judge_run(signs, 0.0)
    if not waits:
        return f"would be skipped: {state.text}"
    if signs.owner is not None and signs.owner.alive:
        return f"would wait: process {signs.owner.pid} on {signs.owner.host} trains it"
    if job.settings.overwrite and signs.begun:
        return "would begin anew (overwrite=true)"
    if signs.saved is not None:
        return f"would go on: {state.kind}, {state.text}"
    if (folder / DONE).exists():
        raise ArtefactError(f"{folder} has {DONE} but no {CHECKPOINTS}/{LAST}; overwrite=true begins anew")
    by_time = job.settings.schedule.horizon == "time"
    return f"would begin, for {trainer.max_time if by_time else counted(trainer.max_epochs, 'epoch')}"


def _ends(job: Job, trains: bool) -> None:
    """Announce selection and report."""
    stages, name = job.settings.stages, job.settings.name
    selects = "select" in stages and trains
    if selects:
        log.info("select: would run when the folds are trained")
    elif "select" in stages:
        folds = finished_folds(job.workspace, name)
        if not folds:
            raise ArtefactError(f"select: no fold of name={name} is finished; add the stage train")
        signs = [(fold.candidate, fold.folder, read_signs(job.workspace, fold.folder)) for fold in folds]
        selects = _announce(selection_state(job.settings, job.workspace, signs))
    if "report" in stages and (trains or selects):
        log.info("report: would run when the %s", "folds are trained" if trains else "selection is made")
    elif "report" in stages:
        _announce(report_state(job.workspace))


def _announce(state: StageState, cost: str = "") -> bool:
    """Say whether a stage would run, by the state of what it makes; return whether it would."""
    if state.state in ("done", "edited by hand"):
        log.info("%s: would be skipped: %s, %s", state.stage, state.state, state.text)
        return False
    if state.state == "missing":
        raise ArtefactError(f"{state.stage}: {state.text}")
    if state.state == "running":
        log.info("%s: would wait for %s, and run if anything is left to do", state.stage, state.text)
        return True
    log.info("%s: would run: %s, %s%s", state.stage, state.state, state.text, f"; {cost}" if cost else "")
    return True
