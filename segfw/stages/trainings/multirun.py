"""One job among several of a command: its share of the computer, and whether it is the last one, which selects."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch

from segfw.core.settings.multirun import Multirun
from segfw.core.settings.schema import ConfigurationChoice, ExperimentSettings
from segfw.core.support.cpu import available_cores, sharing_cores
from segfw.core.support.files import write_text
from segfw.core.support.job_board import BEGAN
from segfw.core.support.locks import hold
from segfw.core.support.words import counted
from segfw.stages.job import Job
from segfw.stages.trainings.runs import is_trained, run_folder
from segfw.training.claims import claimed_card, visible_cards
from segfw.training.run import DONE, FoldName

log = logging.getLogger(__name__)

CLAIMS = ".devices"
SELECTED = "selected_"


@contextmanager
def sharing_the_computer(settings: ExperimentSettings, multirun: Multirun) -> Iterator[ExperimentSettings]:
    """Yield the job's settings with its share of this computer: its part of the cores, and a graphics card of its own.

    A card is waited for where all are taken. Who trains one fold on several devices, or names one, takes what it asks
    for.
    """
    if multirun.at_once == 1:
        yield settings
        return
    trainer = settings.trainer
    processes = len(trainer.devices) if isinstance(trainer.devices, tuple) else trainer.devices
    if trainer.threads is None and isinstance(processes, int):
        trainer = replace(trainer, threads=max(1, available_cores() // (multirun.at_once * processes)))
    claims = trainer.devices == 1 and trainer.accelerator not in ("cpu", "mps") and torch.cuda.is_available()
    cards = visible_cards()
    claim = claimed_card(Path(settings.output_root) / CLAIMS, cards) if claims else nullcontext()
    with sharing_cores(multirun.at_once), claim as card:
        if card is not None:
            log.info("graphics card %s is this job's", cards[card])
            trainer = replace(trainer, devices=(card,))
        yield replace(settings, trainer=trainer)


@contextmanager
def turn_to_select(job: Job, multirun: Multirun) -> Iterator[bool]:
    """Yield whether the block shall select: every run of the multirun's jobs of this name is finished, and no other
    job has selected since.

    Each asks when its own runs are finished, and one after the other, so that at least the last one sees all. Nobody
    else asks while the block runs.
    """
    name = job.settings.name
    selected = Path(multirun.board) / f"{SELECTED}{name}"
    with hold(job.workspace.lock(f"multirun {name}"), f"the selection of the jobs of name={name}"):
        runs = runs_of_all(job, multirun)
        missing = [run for run in runs if not _is_finished(job, *run, multirun)]
        if missing:
            _say_what_is_missing(name, missing)
            yield False
        elif selected.exists() and not any(_is_younger(run_folder(job, *run) / DONE, selected) for run in runs):
            log.info("select and report: nothing to do, another job of name=%s has done both", name)
            yield False
        else:
            yield True
            write_text(selected, "")


def _say_what_is_missing(name: str, missing: list[tuple[str, FoldName]]) -> None:
    runs = ", ".join(f"{configuration} fold {fold}" for configuration, fold in missing)
    count = f"{counted(len(missing), 'run')} {'is' if len(missing) == 1 else 'are'}"
    log.info("select and report: left to the last of the jobs of name=%s, %s not finished yet: %s", name, count, runs)


def runs_of_all(job: Job, multirun: Multirun) -> list[tuple[str, FoldName]]:
    """Return (configuration, fold) of every run that the multirun's jobs of this name train."""
    runs: dict[tuple[str, FoldName], None] = {}
    for configurations, folds in product(multirun.configurations, multirun.folds):
        of_job = Job(replace(job.settings, folds=folds), job.workspace, job.record)
        runs |= dict.fromkeys(product(_surely_trained(job, configurations), of_job.folds))
    return list(runs)


def _surely_trained(job: Job, choice: ConfigurationChoice) -> tuple[str, ...]:
    """Return what a job with this choice trains, whatever the others have done before it.

    Second stages that `auto` takes in only where their first is finished are none of it, nor is what the plan does not
    offer: that job says so itself.
    """
    plan = job.generated_plan
    if choice == "auto":
        return tuple(name for name, each in plan.configurations.items() if each.previous_stage is None)
    return tuple(name for name in choice if name in plan.configurations)


def _is_finished(job: Job, configuration: str, fold: FoldName, multirun: Multirun) -> bool:
    """Whether the run is finished for as long as asked; with overwrite=true, since the multirun began."""
    done = run_folder(job, configuration, fold) / DONE
    present = done.parent.is_dir() and any(path.name == DONE for path in done.parent.iterdir())  # NFS may have cached
    if not present:  # that a file is not there, but lists a folder anew
        return False
    if job.settings.overwrite:
        return _is_younger(done, Path(multirun.board) / BEGAN)
    return is_trained(job, configuration, fold)


def _is_younger(path: Path, other: Path) -> bool:
    """Whether a file was written after the `other`, by the clock of the file system that has both."""
    return not other.exists() or path.stat().st_mtime_ns >= other.stat().st_mtime_ns
