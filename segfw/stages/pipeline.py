"""The main job: the stages in order."""

import logging
import time

from segfw.core.settings import ExperimentSettings
from segfw.stages import fingerprint, plan, preprocess, report, select, train
from segfw.stages.costs import in_words
from segfw.stages.job import prepare
from segfw.stages.plan_table import show_plan

log = logging.getLogger(__name__)

RUN = {
    "fingerprint": fingerprint.run,
    "plan": plan.run,
    "preprocess": preprocess.run,
    "train": train.run,
    "select": select.run,
    "report": report.build,
}


def run(settings: ExperimentSettings) -> float | None:
    """Run the chosen stages; return the winner's mean validation Dice (None where nothing was scored)."""
    started = time.monotonic()
    if "train" in settings.stages:
        train.check(settings)
    job = prepare(settings)
    for stage in settings.stages:
        if stage == "preprocess" and "plan" not in settings.stages:
            show_plan(job)  # what it takes is said before anything large is written
        RUN[stage](job)
    log.info("done in %s: %s", in_words(time.monotonic() - started), job.workspace.root)
    return select.best_score(job)
