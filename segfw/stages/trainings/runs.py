"""What determines a run, where it lies, and what it leaves when it is finished."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from segfw.core.errors import ArtefactError, SegfwError, UsageError
from segfw.core.plan import Plan
from segfw.core.scoring.metrics import Summary, summary_from_plain
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.settings.tracking import LoggerSettings
from segfw.core.settings.training import PretrainedSettings, ScheduleSettings, TrainerSettings
from segfw.core.support.conversion import from_plain, to_plain
from segfw.core.support.durations import parse_duration
from segfw.core.support.files import looked_for, sha256
from segfw.inference.package_files import MANIFEST
from segfw.stages.job import ALGORITHMS, Job
from segfw.training.run import (
    CHECKPOINTS,
    DONE,
    FULL,
    LAST,
    METRICS_JSON,
    VALIDATION,
    EndKind,
    FoldName,
    FoldRun,
    NextStage,
)
from segfw.workspace import MadeFrom, digest, load_json, load_yaml

log = logging.getLogger(__name__)

CONFIG = "config.yaml"
REMEDY = "put the file back, move the run's folder away, or replace the run with overwrite=true"
NOT_LED_BY = ("tags", "callbacks", "logger", "stages", "configurations", "folds", "overwrite")
"""Settings that tell nothing of a single run, or stand elsewhere in its config.yaml."""


def make_run(job: Job, configuration: str, fold: FoldName) -> FoldRun:
    """Collect everything that determines one fold's training."""
    settings = job.settings
    train_cases, val_cases = job.cases_of(fold)
    val_cases = val_cases[: settings.trainer.limit_val_cases]
    planned = job.plan.configuration(configuration)
    return FoldRun(
        plan=replace(job.plan, configurations={configuration: planned}),  # the others do not matter to a run
        configuration_name=configuration,
        fold=fold,
        train_cases=train_cases,
        val_cases=val_cases,
        store=str(job.workspace.store(job.store_name(job.plan, planned))),
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
        pretrained=settings.pretrained if settings.pretrained.path else None,
        pretrained_sha256=_pretrained_hash(settings.pretrained),
        next_stage=next_stage(job.plan, configuration),
        keep_logits=settings.selection.keep_logits,
        inner_share=None if fold == FULL else settings.split.inner_share,
    )


def next_stage(plan: Plan, configuration: str) -> NextStage | None:
    """Return the configuration that takes the segmentations of `configuration` as a further input, if there is one."""
    name = plan.configuration(configuration).next_stage
    return None if name is None else NextStage(name, plan.configuration(name).spacing)


def _pretrained_hash(settings: PretrainedSettings) -> str | None:
    """Return the SHA-256 of the weights to begin with; of a model folder that of its manifest, which has theirs.

    Raises `UsageError` when they are not there.
    """
    if settings.path is None:
        return None
    path = Path(settings.path)
    file = path / MANIFEST if path.is_dir() else path
    if not file.is_file():
        raise UsageError(
            f"pretrained.path: there is no file {looked_for(file)}, which the training begins (or began) with"
        )
    state = file.stat()
    return _hash(file, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=8)
def _hash(file: Path, size: int, mtime_ns: int) -> str:
    """Hash a file once, however many runs ask for it, as long as its size and time stay."""
    return sha256(file)


def run_folder(job: Job, configuration: str, fold: FoldName) -> Path:
    """Where a fold's run lies."""
    settings = job.settings
    return job.workspace.run(settings.name, job.planner, settings.network.name, configuration, fold)


def config_of(job: Job, run: FoldRun) -> dict[str, object]:
    """Return what config.yaml holds: the run, a hash of the dataset's content, words to find it by, and who follows it.

    `command`: the settings that led to the run, such as how cases were split, which are no part of it; its `plan` is
    what was given in the place of planned values.
    """
    settings = job.settings
    plain, own = to_plain(settings), to_plain(run)
    return {
        "dataset": job.record.content,
        "tags": list(settings.tags),
        "callbacks": settings.callbacks,
        "logger": plain["logger"],
        "command": {
            **{key: value for key, value in plain.items() if key not in {*own, *NOT_LED_BY}},
            "plan": {key: value for key, value in plain["plan"].items() if value not in (None, [])},
        },
        "run": own,
    }


def load_run(folder: Path) -> FoldRun:
    """Read the run that a folder's config.yaml describes."""
    path = folder / CONFIG
    return from_plain(FoldRun, _mapping(path).get("run"), str(path))


def load_callbacks(folder: Path) -> dict[str, Any]:
    """Read which callbacks of the user's the run in `folder` was given."""
    callbacks = _mapping(folder / CONFIG).get("callbacks")
    return callbacks if isinstance(callbacks, dict) else {}


def load_logger(folder: Path) -> LoggerSettings:
    """Read who follows the run in `folder`."""
    path = folder / CONFIG
    return from_plain(LoggerSettings, _mapping(path).get("logger") or {}, f"{path}: logger")


def load_config(folder: Path) -> dict[str, object]:
    """Read all of a run's config.yaml."""
    return _mapping(folder / CONFIG)


def _mapping(config: Path) -> dict[str, object]:
    """Read a config.yaml; `ArtefactError` that says what can be done about a damaged one."""
    try:
        content = load_yaml(config)
    except ArtefactError as error:
        raise ArtefactError(f"{error}; {REMEDY}") from error
    if not isinstance(content, dict):
        raise ArtefactError(f"{config} is no mapping of settings, got {content!r}; {REMEDY}")
    return content


@dataclass(frozen=True)
class Done:
    """The content of done.yaml: how far the run was trained, what its scores rest on, and the scores.

    `weights`: SHA-256 of the last checkpoint; `inference`: hash of the settings it was validated with; `seconds`: of
    the command that finished it; `training_seconds`: of training, over all commands; `ended`: all `epochs` done, the
    `time` used, or `early`, with the `reason`. `machine`: the device that trained last, in words; `peak_memory_gb` and
    `peak_device_memory_gb`: most memory that the process and the tensors on its device took, in 10^9 bytes, None where
    that is not known; `versions`: of what finished it.
    """

    epochs: int
    seconds: int
    weights: str
    inference: str
    patch_dice_ema: float | None
    dice: float | None
    dice_per_label: dict[str, float]
    ended: EndKind = "epochs"
    reason: str = ""
    training_seconds: float = 0.0
    machine: str = ""
    peak_memory_gb: float | None = None
    peak_device_memory_gb: float | None = None
    versions: dict[str, str] = field(default_factory=dict)

    def suffices(self, schedule: ScheduleSettings, trainer: TrainerSettings) -> bool:
        """Whether the training is as long as asked for; one that stopped early would not go on with a longer one."""
        if self.ended == "early":
            return True
        if schedule.horizon == "time" and trainer.max_time is not None:
            return self.training_seconds >= parse_duration(trainer.max_time, "trainer.max_time")
        return self.epochs >= trainer.max_epochs


@dataclass(frozen=True)
class FinishedFold:
    """A run with a done.yaml: its folder, its settings, and its whole-case scores (None for the fold `full`)."""

    folder: Path
    run: FoldRun
    done: Done
    scores: Summary | None

    @property
    def candidate(self) -> str:
        """planner/network/configuration, which names what competes."""
        return "/".join(self.folder.parts[-4:-1])


def selection_inputs(settings: ExperimentSettings, scored: Sequence[tuple[str, Done]]) -> MadeFrom:
    """Return what a selection is made from, but for the groups of cases; `scored`: each fold's candidate and result."""
    return {
        "folds": digest(scored),
        "selection.ensembles": digest(settings.selection.ensembles),
        "postprocessing": digest(settings.postprocessing),
        "algorithm": ALGORITHMS["select"],
    }


def is_trained(job: Job, configuration: str, fold: FoldName) -> bool:
    """Whether a run has ended after as much training as is asked for, by what its done.yaml says."""
    path = run_folder(job, configuration, fold) / DONE
    if job.settings.overwrite or not path.exists():
        return False
    try:
        done = from_plain(Done, load_yaml(path), str(path))
        return done.suffices(job.settings.schedule, job.settings.trainer)
    except SegfwError:
        return False  # the stage that trains says what is wrong with it


def load_finished(folder: Path) -> FinishedFold | None:
    """Read a finished run; None for one that is not finished or lacks a file that counts, the latter with a warning."""
    if not (folder / DONE).exists():
        return None
    metrics = folder / VALIDATION / METRICS_JSON
    try:
        run, done = load_run(folder), from_plain(Done, load_yaml(folder / DONE), str(folder / DONE))
        scores = summary_from_plain(load_json(metrics)) if metrics.exists() else None
    except SegfwError as error:
        log.warning("%s is taken as not finished: %s", folder, error)
        return None
    if not (folder / CHECKPOINTS / LAST).exists() or (run.val_cases and scores is None):
        log.warning("%s is taken as not finished: its last checkpoint or its scores are missing", folder)
        return None
    return FinishedFold(folder, run, done, scores)
