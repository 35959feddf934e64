"""Which trackers there are. Each lies in a module of its own, which loads its library, slow or absent, when opened."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec

from segfw.core.errors import UsageError
from segfw.core.settings.tracking import LoggerSettings
from segfw.tracking.trackers import TrackedRun, Tracker

PLACE = "segfw.tracking"
TRACKERS = {
    "wandb": "wandb_log:open_wandb",
    "tensorboard": "tensorboard_log:open_tensorboard",
    "mlflow": "mlflow_log:open_mlflow",
}
"""Key of `logger` -> function of (run, settings) that opens the tracker; the key is also the package that it needs."""
INSTALL = 'pip install "segfw[tracking]"'


def chosen_trackers(settings: LoggerSettings) -> tuple[str, ...]:
    """Return the trackers that are switched on."""
    return tuple(name for name in TRACKERS if getattr(settings, name))


def check_trackers(settings: LoggerSettings) -> None:
    """Raise `UsageError` where a tracker's package is not installed."""
    for name in chosen_trackers(settings):
        if find_spec(name) is None:
            raise UsageError(f"logger.{name}=true needs a package that is not installed: {INSTALL}")


def openers(run: TrackedRun, settings: LoggerSettings) -> dict[str, Callable[[], Tracker]]:
    """Return what opens each tracker that is switched on, by name."""
    return {name: partial(_open, TRACKERS[name], run, settings) for name in chosen_trackers(settings)}


def _open(place: str, run: TrackedRun, settings: LoggerSettings) -> Tracker:
    module, name = place.split(":")
    tracker: Tracker = getattr(import_module(f"{PLACE}.{module}"), name)(run, settings)
    return tracker
