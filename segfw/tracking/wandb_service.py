"""The process, thread and hooks with which W&B serves its runs, ended with the last run instead of with the program.

Until then its process keeps a file of every run open, and goes on beside selection and report, or a notebook.
"""

import logging
import os
import sys
import threading
from typing import Any

from segfw.core.support.attempts import attempt

RUNNING = "WANDB_SERVICE"
"""Environment variable: how to reach the process; set while one runs."""
LONGEST_END = 30.0
"""Seconds that the process has to end; one that takes longer ends with the program."""

failures = logging.getLogger("segfw.failures")


class Service:
    """What opening a run starts; made before, and ended by who has closed it."""

    def __init__(self) -> None:
        self._is_ours = RUNNING not in os.environ
        self._before = sys.exit, sys.excepthook
        self._hooked = self._before

    def begun(self) -> None:
        """Note what W&B has put in place of Python's own way out."""
        self._hooked = sys.exit, sys.excepthook

    def end(self, run: Any) -> None:
        """End what was started for `run`, unless it was there before or serves another run still."""
        import wandb

        if not self._is_ours or RUNNING not in os.environ or wandb.setup().most_recent_active_run not in (None, run):
            return
        # In a thread, since it would end this program with the process's status where that is not 0.
        ending = threading.Thread(target=_tear_down, args=(wandb,), name="end of wandb", daemon=True)
        ending.start()
        ending.join(LONGEST_END)
        if (sys.exit, sys.excepthook) == self._hooked:  # each process would put another layer upon them
            sys.exit, sys.excepthook = self._before


def _tear_down(wandb: Any) -> None:
    from wandb.sdk.artifacts.artifact_instance_cache import artifact_instance_cache_by_client_id

    # The last hundred tables are kept there until the program ends, each with its run and a temporary folder.
    artifact_instance_cache_by_client_id.clear()
    ended = attempt(wandb.teardown)
    if ended.error is not None:  # of a process that was killed, or a connection that broke: there is nothing to end
        failures.warning("wandb's process did not end in order", exc_info=ended.error)
