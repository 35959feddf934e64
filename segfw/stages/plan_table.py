"""The end of stage `plan`: what will be trained and what that takes, as a table and a few lines under it."""

import logging
import math
from collections.abc import Sequence

from rich.text import Text

from segfw.core.errors import DeviceError
from segfw.core.plan import Configuration, Plan
from segfw.core.planning.advice import Asked, training_advice
from segfw.core.planning.overrides import describe_overrides, given_keys
from segfw.core.support.host_memory import available_memory
from segfw.core.support.ranks import launched_ranks
from segfw.core.support.words import by, counted, in_words, readable_count, readable_size
from segfw.stages.costs import (
    ConfigurationCost,
    disk_still_needed,
    plan_costs,
    warn_of_small_disk,
)
from segfw.stages.executor import choose_processes
from segfw.stages.job import Job
from segfw.stages.trainings.runs import is_trained
from segfw.tracking.text_table import LEAST_WIDTH, WIDTH, as_text, plain_table, terminal_width
from segfw.training.team import Team, choose_team

log = logging.getLogger(__name__)

COLUMNS = (
    "configuration",
    "spacing,\nmm",
    "patch",
    "batch",
    "parameters",
    "GPU\nmemory",
    "disk:\nstore",
    "memory to\npreprocess",
    "memory\nto train",
    "training\nof a fold",
)
UNKNOWN, TRAINED = "?", "trained"


def show_plan(job: Job) -> None:
    """Log the configurations of this command with their estimated costs; advise on planner and disk, change nothing."""
    for line in describe_overrides(job.generated_plan, job.overridden_plan, job.settings.plan, job.configurations):
        log.info("%s", line)
    team = _team(job)
    device = None if team is None else team.device
    trained = all(is_trained(job, name, fold) for name in job.configurations for fold in job.folds)
    speed = None if team is None or trained else team.flops_per_second(team.count)
    costs = plan_costs(job, device, speed)
    width = terminal_width(LEAST_WIDTH, WIDTH)
    log.info("%s", plan_table(job.plan, costs, width, TRAINED if trained else UNKNOWN, given_keys(job.settings.plan)))
    _tell_disk(job, costs)
    _tell_memory(job, costs)
    if team is None or device is None:
        return
    seconds = _seconds(job, costs)
    if speed is not None and seconds is not None:
        log.info(
            "time: about %s of training in all, without whole-case validation, by the %.0f GFLOP/s just measured on "
            "%s; less where other work slowed that",
            in_words(seconds),
            speed / 1e9,
            team.description,
        )
    advice = None if trained else training_advice(device.memory_gb, _asked(job, seconds))
    if advice is not None:
        log.info("advice: %s", advice)


def plan_table(
    plan: Plan,
    costs: dict[str, ConfigurationCost],
    width: int = WIDTH,
    without_time: str = UNKNOWN,
    given: Sequence[str] = (),
) -> str:
    """Return the table, at most `width` characters wide: what has no room on a line goes on in the next.

    `without_time`: stands in the place of a training time that was not estimated; `given`: keys whose values are those
    of the command.
    """
    changed = f" with {', '.join(given)} as given" if given else ""
    table = plain_table(f"plan {plan.planner} of {plan.dataset_name}{changed}, with estimates")
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if number < 3 else "right", overflow="fold")
    for name, cost in costs.items():
        table.add_row(*map(Text, (name, *_planned(plan.configuration(name)), *_estimated(cost, without_time))))
    return as_text(table, width)


def _planned(configuration: Configuration) -> tuple[str, str, str]:
    return (
        " ".join(f"{s:.3g}" for s in configuration.spacing),
        by(configuration.patch_size, "x"),
        str(configuration.batch_size),
    )


def _estimated(cost: ConfigurationCost, without_time: str) -> tuple[str, ...]:
    store = UNKNOWN if cost.store is None else readable_size(cost.store)
    return (
        readable_count(cost.parameters),
        UNKNOWN if cost.gpu_memory_gb is None else readable_size(1e9 * cost.gpu_memory_gb),
        store if cost.shares_with is None else "shared",
        UNKNOWN if cost.preprocessing is None else readable_size(cost.preprocessing),
        UNKNOWN if cost.training is None else readable_size(cost.training),
        without_time if cost.seconds_per_fold is None else in_words(cost.seconds_per_fold),
    )


def _seconds(job: Job, costs: dict[str, ConfigurationCost]) -> float | None:
    """Return what all folds take together, None where it is not known of a configuration."""
    per_fold = [cost.seconds_per_fold for cost in costs.values()]
    return None if None in per_fold else sum(filter(None, per_fold)) * len(job.folds)


def _asked(job: Job, seconds: float | None) -> Asked:
    trainer, plan = job.settings.trainer, job.plan
    by_time = job.settings.schedule.horizon == "time"
    return Asked(
        planner=plan.planner,
        gpu_memory_gb=job.settings.planner.gpu_memory_gb,
        batch_sizes={name: plan.configuration(name).batch_size for name in job.configurations},
        folds=len(job.folds),
        iterations=None if by_time else trainer.max_epochs * trainer.limit_train_batches,
        seconds=seconds,
    )


def _team(job: Job) -> Team | None:
    """Return the devices that would train; planning needs none, so that an unusable one is only told of."""
    try:
        return choose_team(job.settings.trainer, launched_ranks())
    except DeviceError as error:
        log.warning("plan: no estimate of time and no advice on the planner, since training would stop: %s", error)
        return None


def _tell_disk(job: Job, costs: dict[str, ConfigurationCost]) -> None:
    stores, checkpoints = disk_still_needed(job, costs)
    for name, cost in costs.items():
        if cost.shares_with is not None:
            log.info("disk: %s is trained from the store of %s", name, cost.shares_with)
    unknown = any(cost.store is None for cost in costs.values())
    if unknown:
        log.info("disk: the stores' size is not known without a fingerprint; add the stage fingerprint")
    parts = [] if unknown else [f"{readable_size(stores)} of preprocessed cases"]
    parts += [f"{readable_size(checkpoints)} of checkpoints ({counted(len(job.folds), 'fold')})"]
    if stores + checkpoints:
        amount = readable_size(stores + checkpoints)
        log.info("disk: %s still to be written in %s: %s", amount, job.workspace.root, ", ".join(parts))
        warn_of_small_disk(job, stores + checkpoints)
    elif not unknown:
        log.info("disk: nothing large is still to be written in %s", job.workspace.root)


def _tell_memory(job: Job, costs: dict[str, ConfigurationCost]) -> None:
    """Log what all preprocessing processes take together, and warn where the machine has less."""
    per_process = max((cost.preprocessing or 0.0 for cost in costs.values()), default=0.0)
    if not per_process:
        return
    processes = max(choose_processes(job.settings.executor.workers, len(job.dataset.cases), per_process), 1)
    free = available_memory()
    total = processes * per_process
    log.info(
        "memory: preprocessing takes at most %s (%s), and %s are free",
        readable_size(total),
        counted(processes, "process"),
        readable_size(free),
    )
    if total > free:
        fitting = max(math.floor(free / per_process), 1)
        log.warning("memory: the largest cases at once may need more than there is; try executor.workers=%d", fitting)
