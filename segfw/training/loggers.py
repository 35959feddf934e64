"""Loggers that users bring, PyTorch Lightning's or made like them, told by us instead of by Lightning.

So they get the names and steps that every tracker gets, and one that fails does not end the training.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pytorch_lightning.loggers import Logger

from segfw.tracking.trackers import RunEnd, TrackedRun, Tracker
from segfw.training.callbacks.own import build_own


class OwnLogger:
    """A tracker that tells a Lightning logger scalars and the configuration, all that every such logger takes.

    Where it sends them nobody knows: it counts as remote.
    """

    remote = True

    def __init__(self, logger: Logger, run: TrackedRun) -> None:
        self.logger = logger
        logger.log_hyperparams(dict(run.config))

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Log the metrics of an epoch, which is the step."""
        self.logger.log_metrics(dict(values), step=epoch)

    def close(self, end: RunEnd) -> None:
        """Save what it holds; Lightning's loggers know two ends."""
        self.logger.save()
        self.logger.finalize("success" if end is RunEnd.FINISHED else "failed")


def own_loggers(entries: Mapping[str, Any], run: TrackedRun) -> dict[str, Callable[[], Tracker]]:
    """Return what opens each logger of `logger.own`, by its name; built when it is opened."""
    return {f"own.{name}": partial(_open, f"logger.own.{name}", entry, run) for name, entry in entries.items() if entry}


def check_own_loggers(entries: Mapping[str, Any]) -> None:
    """Raise `UsageError` for an entry that describes no Lightning logger, as far as building it tells."""
    for name, entry in entries.items():
        if entry:
            build_own(f"logger.own.{name}", entry, Logger)  # type: ignore[type-abstract]


def _open(key: str, entry: Any, run: TrackedRun) -> Tracker:
    return OwnLogger(build_own(key, entry, Logger), run)  # type: ignore[type-abstract]
