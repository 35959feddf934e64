"""Stage `train`: one run per chosen configuration and fold.

A finished run is skipped, an interrupted one goes on, one with more epochs asked for is extended. A run that was made
with other training-relevant settings is never touched: another `name` keeps both, `overwrite=true` replaces it.
"""

import logging
import shutil
import time
from dataclasses import replace
from pathlib import Path

from segfw.core.conversion import to_plain
from segfw.core.errors import DataError, UsageError
from segfw.core.files import sha256, write_text
from segfw.core.locks import Lock, hold
from segfw.core.plan import Plan
from segfw.core.types import IntArray, Volume
from segfw.io.listing import read_geometry
from segfw.io.readers import read_label, write_label
from segfw.stages.costs import announce_cost
from segfw.stages.job import Job
from segfw.stages.preprocess import open_store
from segfw.training.devices import Device, choose_device
from segfw.training.fit import FoldResult, fit_fold
from segfw.training.run import FULL, FoldName, FoldRun
from segfw.training.validation import FoldIO
from segfw.workspace import digest, load_yaml, to_yaml

log = logging.getLogger(__name__)

CONTINUES = {
    "trainer.max_epochs",
    "trainer.accelerator",
    "trainer.threads",
    "trainer.compile",
    "trainer.enable_progress_bar",
    "data.workers",
    "inference.step_size",
    "inference.mirror",
    "inference.window_batch_size",
}
"""Keys that may differ without making it another training."""


def run(job: Job) -> None:
    """Train what is not trained yet."""
    settings = job.settings
    check_names(job)
    waiting = [(c, f) for c in job.configurations for f in job.folds if not _is_done(job, c, f)]
    for configuration in job.configurations:
        for fold in job.folds:
            if (configuration, fold) not in waiting:
                log.info("train %s fold %s: nothing to do, it is finished", configuration, fold)
    if not waiting:
        return
    device = choose_device(settings.trainer.accelerator, settings.trainer.precision, settings.trainer.threads)
    log.info("train: %s", device.description)
    runs = [make_run(job, configuration, fold) for configuration, fold in waiting]
    announce_cost(runs, device)
    for fold_run in runs:
        _train(job, fold_run, device)


def make_run(job: Job, configuration: str, fold: FoldName) -> FoldRun:
    """Collect everything that determines one fold's training."""
    settings = job.settings
    train_cases, val_cases = job.cases_of(fold)
    return FoldRun(
        plan=_only(job.plan, configuration),
        configuration_name=configuration,
        fold=fold,
        train_cases=train_cases,
        val_cases=val_cases,
        store=str(open_store(job, configuration).folder),
        data=settings.data,
        network=settings.network,
        augmentation=settings.augmentation,
        loss=settings.loss,
        optimizer=settings.optimizer,
        schedule=settings.schedule,
        sampling=settings.sampling,
        trainer=settings.trainer,
        inference=settings.inference,
        seed=settings.seed,
        deterministic=settings.deterministic,
    )


def run_folder(job: Job, configuration: str, fold: FoldName) -> Path:
    """Where a fold's run lies."""
    settings = job.settings
    return job.workspace.run(settings.name, settings.planner.name, job.network, configuration, fold)


def check_names(job: Job) -> None:
    """Refuse (`UsageError`) to mix, under one name, runs whose training-relevant keys differ; name the keys."""
    if job.settings.overwrite:
        return
    for configuration in job.configurations:
        folder = run_folder(job, configuration, 0).parent
        for path in sorted(folder.glob("fold_*/config.yaml")):
            fold = path.parent.name.removeprefix("fold_")
            wanted = _relevant(_config(job, make_run(job, configuration, int(fold) if fold.isdigit() else FULL)))
            before = _relevant(load_yaml(path))
            changed = sorted(k for k in {*before, *wanted} if before.get(k) != wanted.get(k))
            if changed:
                rows = "\n".join(f"  {k}: {_short(before.get(k))} there, {_short(wanted.get(k))} now" for k in changed)
                raise UsageError(
                    f"name={job.settings.name} is taken by a run with other settings ({path.parent}):\n{rows}\n"
                    "keep both with name=ANOTHER, or replace its weights with overwrite=true"
                )


def _config(job: Job, fold_run: FoldRun) -> dict[str, object]:
    """What config.yaml holds: the run, and a hash of the dataset's content."""
    return {"dataset": job.record.content, "run": to_plain(fold_run)}


def _relevant(config: dict[str, object]) -> dict[str, object]:
    """Return dotted key -> value of what makes a training the training it is."""
    flat: dict[str, object] = {}

    def walk(value: object, place: str) -> None:
        if isinstance(value, dict) and value:
            for key, item in value.items():
                walk(item, f"{place}.{key}" if place else str(key))
        elif place == "store":
            flat[place] = Path(str(value)).name
        elif place not in CONTINUES:
            flat[place] = value

    run = config.get("run")
    walk({"dataset": config.get("dataset"), **(run if isinstance(run, dict) else {})}, "")
    return flat


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _only(plan: Plan, configuration: str) -> Plan:
    """Return the plan with one configuration: the others do not matter to a run."""
    return replace(plan, configurations={configuration: plan.configuration(configuration)})


def _is_done(job: Job, configuration: str, fold: FoldName) -> bool:
    """Whether the run is finished for as many epochs as asked and validated as asked."""
    if job.settings.overwrite:
        return False
    done = run_folder(job, configuration, fold) / "done.yaml"
    if not done.exists():
        return False
    content = load_yaml(done)
    return content["epochs"] >= job.settings.trainer.max_epochs and content["inference"] == digest(
        job.settings.inference
    )


def _train(job: Job, fold_run: FoldRun, device: Device) -> None:
    folder = run_folder(job, fold_run.configuration_name, fold_run.fold)
    what = f"{fold_run.configuration_name} fold {fold_run.fold}"
    with hold(job.workspace.lock(f"run {job.workspace.relative(folder)}"), what) as lock:
        if not job.settings.overwrite and _is_done(job, fold_run.configuration_name, fold_run.fold):
            log.info("train %s: another command has just finished it", what)
            return
        _begin(job, folder, fold_run)
        started = time.time()
        result = fit_fold(fold_run, folder, device, _io(job))
        _finish(job, folder, lock, result, time.time() - started)
        log.info("train %s: finished, %s", what, folder)


def _begin(job: Job, folder: Path, fold_run: FoldRun) -> None:
    """Prepare the run's folder: emptied when overwriting, otherwise kept; validation is redone when weights change."""
    if job.settings.overwrite and folder.exists():
        log.info("train: %s is replaced (overwrite=true)", folder)
        shutil.rmtree(folder)
    if (folder / "done.yaml").exists():
        (folder / "done.yaml").unlink()
        shutil.rmtree(folder / "validation", ignore_errors=True)
    write_text(folder / "config.yaml", to_yaml(_config(job, fold_run), "Everything that determined this run."))


def _finish(job: Job, folder: Path, lock: Lock, result: FoldResult, seconds: float) -> None:
    """Write done.yaml: how long was trained, on what the scores rest, and the scores."""
    mean = result.scores.mean if result.scores else {}
    content = {
        "epochs": result.epochs,
        "seconds_of_last_command": round(seconds),
        "weights": sha256(result.checkpoint),
        "inference": digest(job.settings.inference),
        "patch_dice_ema": result.patch_dice_ema,
        "dice": None if result.scores is None else result.scores.foreground_mean["dice"],
        "dice_per_label": {name: row["dice"] for name, row in mean.items()},
    }
    lock.check()
    write_text(folder / "done.yaml", to_yaml(content, "Written last: this fold is finished."))


def _io(job: Job) -> FoldIO:
    """Give training the functions that read reference label maps and write segmentations in a case's own geometry."""

    def reference(name: str) -> Volume:
        label = job.dataset.case(name).label
        if label is None:
            raise DataError(f"case {name}: has no label map to validate against")
        return read_label(label)

    def write(name: str, segmentation: IntArray, path: Path) -> None:
        write_label(path, segmentation, read_geometry(job.dataset.case(name).images[0]))

    return FoldIO(read_reference=reference, write_segmentation=write)
