"""Hydra's sweeper that lets Optuna choose: draws trials, lets a launcher run them, keeps what they scored.

Hydra's own plugin for Optuna works only with versions of it from before 2023, whose storage on disk does not work with
today's SQLAlchemy. This one needs no database, goes on after whatever ended it, and outlives trials that fail.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction

from segfw.core.errors import JobError, UsageError
from segfw.core.settings.choices import unknown_choice
from segfw.core.support.attempts import attempt
from segfw.core.support.locks import hold
from segfw.core.support.words import counted
from segfw.sweeps.results import keep_best, write_results
from segfw.sweeps.settings import file_name, groups_of, search_path, shared_settings
from segfw.sweeps.space import Interval, Space, Value, make_space, written
from segfw.sweeps.study import Direction, Study, Trial, open_study, require_optuna

log = logging.getLogger(__name__)

OBJECTIVE = "val/dice"


@dataclass(frozen=True)
class SearchSettings:
    """What may be given under `hydra.sweeper`."""

    n_trials: int = 20
    n_jobs: int = 1
    direction: Direction = "maximize"
    seed: int = 0
    study_name: str | None = None
    storage: str | None = None
    max_failure_rate: float = 1.0
    params: Mapping[str, Any] = field(default_factory=dict)
    command: Sequence[str] = ()

    def check(self) -> None:
        """Raise `UsageError` for what is not allowed; not when it is made, since Hydra would wrap the error up."""
        for key, least in (("n_trials", 1), ("n_jobs", 1), ("seed", 0)):
            if getattr(self, key) < least:
                raise UsageError(f"hydra.sweeper.{key} must be at least {least}, got {getattr(self, key)}")
        if self.direction not in ("maximize", "minimize"):
            raise UsageError(f"hydra.sweeper.direction must be maximize or minimize, got {self.direction!r}")
        if not 0 <= self.max_failure_rate <= 1:
            raise UsageError(f"hydra.sweeper.max_failure_rate must be between 0 and 1, got {self.max_failure_rate}")
        if self.storage is not None and "://" in self.storage:
            raise UsageError(f"hydra.sweeper.storage must be a file, databases are not used, got {self.storage!r}")


class OptunaSweeper(Sweeper):
    """Runs `n_trials` trials, `n_jobs` at once, and keeps them in the file `storage` under `study_name`.

    `params`: key -> what it may be; `command`: the words that the user typed, for the best trial's command.
    """

    def __init__(self, **given: Any) -> None:
        """Take what Hydra hands on: the keys of its node, which are those of `SearchSettings`."""
        self.settings = SearchSettings(**given)
        self.config: Any = None
        self.launcher: Launcher | None = None
        self.hydra_context: HydraContext | None = None
        self._jobs = 0

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: Any) -> None:
        """Take what Hydra gives, and make the launcher that runs the trials."""
        self.settings.check()
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> None:
        """Search, given the command line's `arguments`; `JobError` where no trial has a score or too many failed."""
        require_optuna()
        space = make_space(OverridesParser.create(config_loader=self._loader), self.settings.params, arguments)
        self._check_choices(space)
        name, path = study_place(self.settings, self.config)
        with hold(path.with_name(f"{path.name}.sweep.lock"), f"the study {name}"):
            shared = shared_settings(self.config, tuple(space.dimensions))
            study = open_study(path, name, space.dimensions, self.settings.direction, self.settings.seed, shared)
            failed = self._run_trials(study, space)
            self._report(study, space, failed)

    def _check_choices(self, space: Space) -> None:
        """Compose the first trial, and refuse a choice that a group of YAML files does not offer."""
        first: dict[str, Value] = {}
        paths, groups = search_path(self.config), groups_of(self._loader, self.config)
        for key, dimension in space.dimensions.items():
            if isinstance(dimension, Interval):
                first[key] = dimension.low
                continue
            first[key] = dimension.values[0]
            offered = self._loader.get_group_options(key, overrides=paths) if key in groups else []
            unknown = [value for value in dimension.values if offered and value not in (*offered, "null")]
            if unknown:
                raise unknown_choice(key, unknown[0], offered)
        self.validate_batch_is_legal([space.overrides(first)])

    @property
    def _loader(self) -> ConfigLoader:
        assert self.hydra_context is not None
        return self.hydra_context.config_loader

    def _run_trials(self, study: Study, space: Space) -> list[Trial]:
        """Run what was interrupted, then new trials, until `n_trials` have a score or failed here; return the latter.

        A trial that failed under an earlier command is not counted: the same command again makes up for it.
        """
        waiting = study.take_up()
        if waiting:
            log.info("%s interrupted earlier, run again", counted(len(waiting), "trial"))
        failed: list[Trial] = []
        while (left := self.settings.n_trials - len(study.finished) - len(failed)) > 0:
            size = min(self.settings.n_jobs, left)
            batch, waiting = waiting[:size], waiting[size:]
            batch += [study.draw() for _ in range(size - len(batch))]
            for trial, outcome in self._outcomes(batch, space):
                reason = why_unusable(outcome)
                if reason is None:
                    study.finish(trial, float(outcome))
                    log.info("trial %d: %s %.4f with %s", trial.number, OBJECTIVE, outcome, in_words(trial))
                else:
                    study.fail(trial, reason)
                    failed.append(trial)
                    log.error("trial %d failed: %s (%s)", trial.number, reason, in_words(trial))
            if len(failed) > self.settings.max_failure_rate * self.settings.n_trials:
                break
        return failed

    def _outcomes(self, batch: list[Trial], space: Space) -> Iterator[tuple[Trial, Any]]:
        """Run some trials at once; yield each with what its job returned, or the exception that ended it.

        A launcher may raise for all of them where one was killed. They are then run one by one: those that were done
        find their results on disk.
        """
        assert self.launcher is not None
        number, self._jobs = self._jobs, self._jobs + len(batch)
        overrides = [space.overrides(trial.values) for trial in batch]
        launched = attempt(partial(self.launcher.launch, overrides, initial_job_idx=number))
        if launched.error is None:
            for trial, returned in zip(batch, launched.result(), strict=True):
                done = attempt(partial(getattr, returned, "return_value"))  # raises what the job raised
                yield trial, done.result() if done.error is None else done.error
        elif len(batch) == 1:
            yield batch[0], launched.error
        else:
            why = reason_of(launched.error)
            log.warning("the launcher gave up %d trials, which are run one by one: %s", len(batch), why)
            for trial in batch:
                yield from self._outcomes([trial], space)

    def _report(self, study: Study, space: Space, failed: list[Trial]) -> None:
        """Tell and save the best trial, and raise `JobError` for a sweep that failed."""
        best, wanted = study.best, self.settings.n_trials
        reasons = "\n".join(f"  trial {trial.number}: {trial.reason}" for trial in study.trials if trial.reason)
        if best is None:
            raise JobError(f"no trial of the study {study.name} has a score:\n{reasons}")
        if len(study.finished) >= wanted and self._jobs == 0:
            log.info("the study %s has %s, nothing to run", study.name, counted(len(study.finished), "finished trial"))
        kept = keep_best(study, best, space, self.config, self.settings.command, self._loader)
        table = write_results(Path(str(self.config.hydra.sweep.dir)), study, best, kept)
        log.info(
            "best of %s: trial %d, %s %.4f with %s\ntrain it on every fold, validated on their own cases:\n  %s\n"
            "or with experiment=%s: %s\nall trials: %s",
            *(counted(len(study.finished), "finished trial"), best.number, OBJECTIVE, best.score, in_words(best)),
            *(kept.command, kept.experiment, kept.note, table),
        )
        if len(failed) > self.settings.max_failure_rate * wanted:
            raise JobError(
                f"{len(failed)} of {wanted} trials failed, more than hydra.sweeper.max_failure_rate="
                f"{self.settings.max_failure_rate} allows:\n{reasons}"
            )


def search_settings(node: Any) -> SearchSettings:
    """Return the settings that the composed `hydra.sweeper` holds."""
    return SearchSettings(**{each.name: node[each.name] for each in fields(SearchSettings)})


def study_place(settings: SearchSettings, config: Any) -> tuple[str, Path]:
    """Return the name of the study of the composed `config`, and the file that holds it."""
    name = settings.study_name or file_name(str(config.name))
    root = Path(str(config.output_root)) / str(config.task.name) / "sweeps"
    return name, Path(settings.storage) if settings.storage else root / f"{name}.journal"


def in_words(trial: Trial) -> str:
    """Write the values of a trial as on a command line."""
    return " ".join(f"{key}={written(value)}" for key, value in trial.values.items())


def why_unusable(outcome: Any) -> str | None:
    """Say why what a job returned or raised is no score; None where it is one."""
    if isinstance(outcome, BaseException):
        return reason_of(outcome)
    if outcome is None:
        return (
            f"the job returned no {OBJECTIVE}: stages= must hold train, and folds= folds that validate on whole cases"
        )
    if isinstance(outcome, bool) or not isinstance(outcome, int | float):
        return f"the job must return a number as {OBJECTIVE}, got {outcome!r}"
    return None if math.isfinite(outcome) else f"{OBJECTIVE} must be finite, got {outcome}"


def reason_of(error: BaseException) -> str:
    """Return the message of an exception in one line, its type where it has none."""
    text = " ".join(str(error.args[-1] if error.args else "").split())
    return text or type(error).__name__
