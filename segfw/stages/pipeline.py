"""The main job: the stages in order. Each is imported when it runs, so that early ones do not wait for PyTorch."""

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from typing import Any

from segfw.core.planning.overrides import given_keys
from segfw.core.settings.class_weights import weight_per_class
from segfw.core.settings.multirun import Multirun
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.support.ranks import launched_ranks
from segfw.core.support.words import in_words
from segfw.inference.provenance import check_texts
from segfw.stages.dataset.raw import workspace_of
from segfw.stages.ending import tell_end
from segfw.stages.job import Job, prepare
from segfw.stages.trainings.rank_calls import leading, session_folder

log = logging.getLogger(__name__)

# `module:function` below `STAGES`, as words, so that each module is imported when its function is first called.
STAGES = "segfw.stages"
SHOW_PLAN = "plan_table:show_plan"
FOLLOW_RANK_0 = "trainings.fit:follow"
DRY_RUN = "inspection.dry_run:run"
CHECK_TRAINING = "trainings.train:check"
CHECK_PLANNED = "trainings.train:check_planned"
BEST_SCORE = "selection.select:best_score"
SHARE_COMPUTER = "trainings.multirun:sharing_the_computer"
TURN_TO_SELECT = "trainings.multirun:turn_to_select"
MEAN_SCORE = "trainings.train:mean_score"
RUN = {
    "fingerprint": "fingerprint:run",
    "plan": "plan:run",
    "preprocess": "preprocess:run",
    "train": "trainings.train:run",
    "select": "selection.select:run",
    "report": "reporting.report:build",
}
OF_ALL_RUNS = ("select", "report")
"""Stages that combine all runs; of the jobs of a multirun only one runs them."""


def run(settings: ExperimentSettings, multirun: Multirun | None = None) -> float | None:
    """Run the chosen stages; return the mean validation Dice (None where nothing was scored), see `_objective`.

    Of processes that torchrun or srun has started together, the first does so and calls the others to its fits. Of the
    jobs of a `multirun` the last one selects; the others return None.
    """
    ranks = launched_ranks()
    if settings.dry_run:
        if ranks.leads:
            _function(DRY_RUN)(settings)
        return None
    if not ranks.leads:
        _function(FOLLOW_RANK_0)(settings)
        return None
    if ranks.together:
        with leading(session_folder(workspace_of(settings), ranks), ranks):
            return _run_stages(settings, multirun)
    if multirun is None:
        return _run_stages(settings)
    with _function(SHARE_COMPUTER)(settings, multirun) as own:
        return _run_stages(own, multirun)


def _run_stages(settings: ExperimentSettings, multirun: Multirun | None = None) -> float | None:
    started = time.monotonic()
    if "train" in settings.stages:
        _function(CHECK_TRAINING)(settings)
    told: set[str] = set()

    def run_stage(stage: str, job: Job) -> None:
        begun = time.monotonic()
        tell_end(stage, _function(RUN[stage])(job), time.monotonic() - begun)
        told.add(stage)

    make_fingerprint = partial(run_stage, "fingerprint") if "fingerprint" in settings.stages else None
    job = prepare(settings, make_fingerprint)
    if "train" in settings.stages:
        check_texts(job.dataset)
        weight_per_class(settings.loss.class_weights, job.dataset.labels)
    shown = "plan" in settings.stages
    for stage in (each for each in settings.stages if each not in OF_ALL_RUNS):
        if not shown and _changes_costs(stage, settings):
            _function(SHOW_PLAN)(job)
            shown = True
        if stage == "preprocess" and "train" in settings.stages:
            _function(CHECK_PLANNED)(job)
        if stage not in told:  # of the fingerprint, which folds may have needed first
            run_stage(stage, job)
    selects = _run_stages_of_all(job, multirun, run_stage)
    log.info("done in %s: %s", in_words(time.monotonic() - started), job.workspace.root)
    return _objective(job) if selects else None


def _changes_costs(stage: str, settings: ExperimentSettings) -> bool:
    """Whether what the plan takes has to be said before `stage`: it writes much, or trains something else than planned.

    A training of what is planned measures its costs itself.
    """
    return stage == "preprocess" or (stage == "train" and bool(given_keys(settings.plan)))


def _objective(job: Job) -> float | None:
    """Return `val/dice`: the winner's, else the mean whole-case Dice of the chosen folds."""
    stages, selection = job.settings.stages, job.workspace.selection(job.settings.name)
    score: float | None = None
    if "train" in stages and "select" not in stages:
        score = _function(MEAN_SCORE)(job)
    elif selection.exists():
        score = _function(BEST_SCORE)(job)
    return score


def _run_stages_of_all(job: Job, multirun: Multirun | None, run_stage: Callable[[str, Job], None]) -> bool:
    """Run the stages that combine all jobs' runs, if this job of the multirun is the one to; return whether it is."""
    stages = [stage for stage in OF_ALL_RUNS if stage in job.settings.stages]
    asks = stages and multirun is not None and "train" in job.settings.stages
    with _function(TURN_TO_SELECT)(job, multirun) if asks else nullcontext(True) as is_ours:
        for stage in stages if is_ours else ():
            run_stage(stage, job)
    return bool(is_ours)


def _function(place: str) -> Callable[..., Any]:
    """Import `module:function` of this package."""
    module, name = place.split(":")
    function: Callable[..., Any] = getattr(import_module(f"{STAGES}.{module}"), name)
    return function
