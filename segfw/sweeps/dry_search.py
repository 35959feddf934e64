"""`dry_run=true` of a search: how many trials, over what, and which of them are finished; nothing is written."""

import logging
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser

from segfw.sweeps.settings import shared_settings
from segfw.sweeps.space import make_space
from segfw.sweeps.study import read_trials
from segfw.sweeps.sweeper import search_settings, study_place

log = logging.getLogger(__name__)


def tell_search(config: Any, loader: ConfigLoader, arguments: list[str]) -> None:
    """Say what the search of the composed `config` and a command line's `arguments` would do.

    Raises `UsageError` for what it would refuse: a range that is none, a study that was begun with other settings.
    """
    settings = search_settings(config.hydra.sweeper)
    settings.check()
    space = make_space(OverridesParser.create(config_loader=loader), settings.params, arguments)
    name, path = study_place(settings, config)
    shared = shared_settings(config, tuple(space.dimensions))
    trials = read_trials(path, name, space.dimensions, settings.direction, settings.seed, shared)
    finished = sum(trial.state == "finished" for trial in trials)
    log.info(
        "search: %d trials are wanted, %d finished, %d would be run, %d at once\nstudy %s in %s%s\nover:",
        *(settings.n_trials, finished, max(0, settings.n_trials - finished), settings.n_jobs),
        *(name, path, "" if path.exists() else ", which would be made"),
    )
    for key, dimension in space.dimensions.items():
        log.info("  %s: %s", key, dimension)
    log.info("what follows is one trial of them, and so is its cost")
