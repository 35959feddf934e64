"""How Hydra finds the sweeper: as the choice `optuna` of its group `hydra/sweeper`."""

import importlib
import sys
from dataclasses import dataclass, field, fields
from types import ModuleType
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from segfw.core.errors import UsageError
from segfw.core.support.conversion import nearest
from segfw.sweeps.sweeper import OptunaSweeper, SearchSettings

GROUP, CHOICE = "hydra/sweeper", "optuna"
INTERNAL = ("_target_", "_convert_", "command")
"""Keys that are not for users."""

# Hydra makes sweepers only of classes that it finds below `hydra_plugins`, a package without code of its own that all
# distributions share. A file of ours in there would be a second top-level package of the wheel, imported at the start
# of every Hydra program of the environment. So a module of that name is made when the program starts, which is the same
# in a checkout, an editable installation and a wheel. Jobs of launchers, in other processes, do without: they compose
# what their sweeper has been, and make none.
SHARED = "hydra_plugins"
PLACE = f"{SHARED}.segfw_sweeper"
TARGET = f"{PLACE}.{OptunaSweeper.__name__}"


@dataclass
class OptunaSweeperNode:
    """The keys below `hydra.sweeper`, for OmegaConf; what they may be is checked by `SearchSettings`."""

    _target_: str = TARGET
    _convert_: str = "all"
    n_trials: int = SearchSettings.n_trials
    n_jobs: int = SearchSettings.n_jobs
    direction: str = SearchSettings.direction
    seed: int = SearchSettings.seed
    study_name: str | None = None
    storage: str | None = None
    max_failure_rate: float = SearchSettings.max_failure_rate
    params: dict[str, Any] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)


def register_sweeper() -> None:
    """Let Hydra find the sweeper."""
    try:
        importlib.import_module(SHARED)
    except ImportError:  # no distribution has a plugin
        sys.modules[SHARED] = ModuleType(SHARED)
        sys.modules[SHARED].__path__ = []
    module = ModuleType(PLACE)
    setattr(module, OptunaSweeper.__name__, OptunaSweeper)
    sys.modules[PLACE] = module
    OptunaSweeper.__module__ = PLACE
    Plugins.instance().register(OptunaSweeper)
    ConfigStore.instance().store(CHOICE, OptunaSweeperNode, group=GROUP, provider="segfw")


def check_sweeper_key(key: str) -> None:
    """Raise `UsageError`, naming the nearest one, for a `key` of hydra.sweeper that this sweeper does not have."""
    known = [each.name for each in fields(OptunaSweeperNode)]
    if key.split(".")[0] not in known:
        told = [name for name in known if name not in INTERNAL]
        raise UsageError(
            f"unknown key 'hydra.sweeper.{key}'{nearest(key, told) or '.'} {GROUP}={CHOICE} has {', '.join(told)}"
        )


def searches(hydra_node: Any) -> bool:
    """Whether the composed `hydra` node chooses this sweeper."""
    return bool(hydra_node.sweeper.get("_target_") == TARGET)
