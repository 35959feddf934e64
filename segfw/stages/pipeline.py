"""The main job: the stages in order. Each is imported when it runs, so that early ones do not wait for PyTorch."""

import logging
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from segfw.core.settings.class_weights import weight_per_class
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.support.ranks import launched_ranks
from segfw.core.support.words import in_words
from segfw.inference.provenance import check_texts
from segfw.stages.job import Job, prepare
from segfw.stages.rank_calls import leading, session_folder
from segfw.stages.raw import workspace_of

log = logging.getLogger(__name__)

STAGES = "segfw.stages"
SHOW_PLAN = "plan_table:show_plan"
FOLLOW = "fit:follow"
CHECK_TRAINING = "train:check"
BEST_SCORE = "select:best_score"
MEAN_SCORE = "train:mean_score"
RUN = {
    "fingerprint": "fingerprint:run",
    "plan": "plan:run",
    "preprocess": "preprocess:run",
    "train": "train:run",
    "select": "select:run",
    "report": "report:build",
}


def run(settings: ExperimentSettings) -> float | None:
    """Run the chosen stages; return the mean validation Dice (None where nothing was scored), see `_objective`.

    Of processes that torchrun or srun has started together, the first does so and calls the others to its fits.
    """
    ranks = launched_ranks()
    if not ranks.leads:
        _function(FOLLOW)(settings)
        return None
    if not ranks.together:
        return _run_stages(settings)
    with leading(session_folder(workspace_of(settings), ranks), ranks):
        return _run_stages(settings)


def _run_stages(settings: ExperimentSettings) -> float | None:
    started = time.monotonic()
    if "train" in settings.stages:
        _function(CHECK_TRAINING)(settings)
    job = prepare(settings, _make_fingerprint if "fingerprint" in settings.stages else None)
    if "train" in settings.stages:
        check_texts(job.dataset)
        weight_per_class(settings.loss.class_weights, job.dataset.labels)
    for stage in settings.stages:
        if stage == "preprocess" and "plan" not in settings.stages:
            _function(SHOW_PLAN)(job)  # what it takes is said before anything large is written
        _function(RUN[stage])(job)
    log.info("done in %s: %s", in_words(time.monotonic() - started), job.workspace.root)
    return _objective(job)


def _objective(job: Job) -> float | None:
    """Return `val/dice`: the winner's, else the mean whole-case Dice of the chosen folds."""
    stages, selection = job.settings.stages, job.workspace.selection(job.settings.name)
    score: float | None = None
    if "train" in stages and "select" not in stages:
        score = _function(MEAN_SCORE)(job)
    elif selection.exists():
        score = _function(BEST_SCORE)(job)
    return score


def _make_fingerprint(job: Job) -> None:
    _function(RUN["fingerprint"])(job)


def _function(place: str) -> Callable[..., Any]:
    """Import `module:function` of this package."""
    module, name = place.split(":")
    function: Callable[..., Any] = getattr(import_module(f"{STAGES}.{module}"), name)
    return function
