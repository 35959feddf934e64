"""What a command is going to cost in time, memory and disk, said before it starts."""

import logging
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from segfw.core.errors import ArtefactError
from segfw.core.plan import Fingerprint
from segfw.core.planning.cost import training_flops
from segfw.core.planning.footprint import (
    TrainingMachine,
    checkpoint_bytes,
    once_per_store,
    preprocessing_bytes,
    store_bytes,
    training_bytes,
)
from segfw.core.planning.network_fit import plan_as_built
from segfw.core.planning.planners import estimated_gpu_memory_gb
from segfw.core.support.durations import parse_duration
from segfw.core.support.words import DAY, counted, in_words, readable_size
from segfw.stages.job import Job
from segfw.stages.networks import NetworkCost, network_cost
from segfw.stages.trainings.runs import run_folder
from segfw.training.devices import Device, choose_workers
from segfw.training.run import CHECKPOINTS, DONE, FULL, FoldRun
from segfw.training.team import Team

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConfigurationCost:
    """What one configuration costs; bytes, gigabytes of GPU memory, seconds. None: not to be known here.

    `store`: of its preprocessed cases; `shares_with`: the configuration in this command that has the same store;
    `checkpoints`: of one fold; `preprocessing`: memory of one process; `training`: host memory; `seconds_per_fold`:
    of training.
    """

    parameters: int
    gpu_memory_gb: float | None
    store: int | None
    shares_with: str | None
    checkpoints: int
    preprocessing: float | None
    training: float | None
    seconds_per_fold: float | None


def plan_costs(job: Job, device: Device | None, flops_per_second: float | None) -> dict[str, ConfigurationCost]:
    """Estimate every configuration of the command; without a device none of its time, without a fingerprint no disk."""
    fingerprint = _fingerprint(job)
    network = job.settings.network
    plan, known = plan_as_built(job.plan, network), network.target is None
    names = job.configurations
    stores = {} if fingerprint is None else {n: store_bytes(fingerprint, plan, plan.configuration(n)) for n in names}
    shared = once_per_store({n: job.store_name(job.plan, job.plan.configuration(n)) for n in names})
    machine = _training_machine(job, device)
    costs = {}
    for name in names:
        configuration = plan.configuration(name)
        cost = network_cost(plan, configuration, network)
        count, optimizer = cost.parameters, job.settings.optimizer.name
        averaged = job.settings.trainer.ema_half_life is not None
        costs[name] = ConfigurationCost(
            parameters=count,
            gpu_memory_gb=estimated_gpu_memory_gb(plan, name) if known else None,
            store=stores.get(name),
            shares_with=shared.get(name),
            checkpoints=checkpoint_bytes(count, optimizer, averaged),
            preprocessing=None if fingerprint is None else preprocessing_bytes(fingerprint, plan, configuration),
            training=training_bytes(plan, name, count, optimizer, machine, averaged) if known else None,
            seconds_per_fold=_seconds_per_fold(job, cost, flops_per_second),
        )
    if not known:  # said of a network that works: one that does not is refused above
        log.warning(
            "network=%s: the memory it needs for %s is not known; patch and batch stay as planned",
            *(network.name, ", ".join(names)),
        )
    return costs


def _fingerprint(job: Job) -> Fingerprint | None:
    """Return the fingerprint, None where a given plan file is used without one."""
    try:
        return job.fingerprint
    except ArtefactError:
        return None


def _training_machine(job: Job, device: Device | None) -> TrainingMachine:
    if device is None:
        return TrainingMachine(on_cpu=False, cuda=False, workers=0)
    workers = choose_workers(job.settings.data.workers, device)
    return TrainingMachine(device.accelerator == "cpu", device.accelerator == "cuda", workers)


def _seconds_per_fold(job: Job, cost: NetworkCost, speed: float | None) -> float | None:
    trainer = job.settings.trainer
    if job.settings.schedule.horizon == "time" and trainer.max_time is not None:
        return float(parse_duration(trainer.max_time, "trainer.max_time"))
    if speed is None or cost.flops is None:
        return None
    val_batches = 0 if job.folds == (FULL,) else trainer.limit_val_batches
    return training_flops(cost.flops, trainer, val_batches) / speed


def preprocessing_memory(job: Job, name: str) -> float:
    """Return the bytes that one process preprocessing for configuration `name` holds at most; 0 where not known."""
    fingerprint = _fingerprint(job)
    return 0.0 if fingerprint is None else preprocessing_bytes(fingerprint, job.plan, job.plan.configuration(name))


def disk_still_needed(job: Job, costs: dict[str, ConfigurationCost]) -> tuple[int, int]:
    """Return the bytes that stores and training folders have yet to take; what is there already is subtracted."""
    stores = checkpoints = 0
    for name, cost in costs.items():
        folder = job.workspace.store(job.store_name(job.plan, job.plan.configuration(name)))
        if cost.store is not None and cost.shares_with is None:
            stores += max(cost.store - _size(folder.glob("*")), 0)
        for fold in job.folds:
            run = run_folder(job, name, fold)
            if not (run / DONE).exists():
                checkpoints += max(cost.checkpoints - _size((run / CHECKPOINTS).glob("*")), 0)
    return stores, checkpoints


def warn_of_small_disk(job: Job, needed: float) -> None:
    """Warn, since an estimate may be wrong, when the output folder's disk has less room than `needed` bytes."""
    root = job.workspace.root.absolute()
    free = shutil.disk_usage(next(place for place in (root, *root.parents) if place.exists())).free
    if needed > free:
        log.warning(
            "disk: about %s are needed in %s and %s are free; make room, choose another output_root=, or fewer "
            "configurations= and folds=",
            readable_size(needed),
            job.workspace.root,
            readable_size(free),
        )


def _size(files: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in files if path.is_file())


def announce_cost(runs: Sequence[FoldRun], team: Team) -> None:
    """Log the estimated training time; beyond a day name the recipe for small budgets."""
    parts = [_seconds_of(run, team) for run in runs]
    many = f"train: {counted(len(runs), 'run')}"
    if None in parts:
        log.info("%s; how long they take is not known for this network", many)
        return
    seconds = sum(filter(None, parts))
    where = "on this machine" if team.count == 1 else f"on {team.count} devices"
    log.info("%s, estimated %s %s, without whole-case validation", many, in_words(seconds), where)
    if seconds > DAY:
        log.warning(
            "train: this is more than a day. `experiment=fast` is the recipe for small budgets (hundreds of iterations "
            "instead of hundreds of thousands); trainer.max_epochs=, configurations= and folds= shorten it as well"
        )


def estimate_seconds(runs: Sequence[FoldRun], flops_per_second: float) -> float | None:
    """Return the seconds that training takes: its budget, or its arithmetic at `flops_per_second` alone."""
    total = 0.0
    for run in runs:
        if run.time_budget is not None:
            total += run.time_budget
            continue
        forward = network_cost(run.plan, run.configuration, run.network).flops
        if forward is None:
            return None
        total += training_flops(forward, run.trainer, run.val_batches) / flops_per_second
    return total


def _seconds_of(run: FoldRun, team: Team) -> float | None:
    devices = team.devices_for(run.configuration.batch_size, run.configuration_name)
    return estimate_seconds([run], team.flops_per_second(devices))
