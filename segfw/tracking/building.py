"""Which trackers there are. Each lies in a module of its own, which loads its library, slow or absent, when opened."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from segfw.core.errors import UsageError
from segfw.core.settings.tracking import LoggerSettings
from segfw.tracking.trackers import TrackedRun, Tracker

PLACE = "segfw.tracking"
TRACKERS: dict[str, tuple[str, Callable[[LoggerSettings], tuple[Any, ...]]]] = {
    "wandb": ("wandb_log:open_wandb", lambda settings: (settings,)),
    "tensorboard": ("tensorboard_log:open_tensorboard", lambda settings: ()),
    "mlflow": ("mlflow_log:open_mlflow", lambda settings: (settings.mlflow_uri,)),
}
"""Key of `logger` -> the function that opens the tracker, and what of the settings it takes besides the run.

The key is also the name of the package that it needs.
"""
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
    chosen = {name: TRACKERS[name] for name in chosen_trackers(settings)}
    return {name: partial(_open, place, run, *takes(settings)) for name, (place, takes) in chosen.items()}


def _open(place: str, run: TrackedRun, *further: Any) -> Tracker:
    module, name = place.split(":")
    tracker: Tracker = getattr(import_module(f"{PLACE}.{module}"), name)(run, *further)
    return tracker
