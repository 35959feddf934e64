"""The trials of a sweep, kept by Optuna in a file, so that the same sweep goes on after whatever ended it."""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from segfw.core.errors import ArtefactError, UsageError
from segfw.core.support.conversion import changed_keys
from segfw.sweeps.space import Choice, Dimension, Value

MADE_WITH, FAILURE = "made with", "failure of trial "
INSTALL = 'hydra/sweeper=optuna needs Optuna, which is not installed: pip install "segfw[sweep]"'
Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Trial:
    """One set of values and what came of it; `score` is None where there is none yet, `reason` says why it failed."""

    number: int
    values: Mapping[str, Value]
    state: Literal["finished", "failed", "running"] = "running"
    score: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Study:
    """Optuna's study `optuna` in the file `path`, searching `dimensions` with a sampler that `seed` determines.

    Only one command may have it open: a trial that is found running is taken for one that was interrupted.
    """

    optuna: Any
    path: Path
    dimensions: Mapping[str, Dimension]
    direction: Direction
    seed: int

    @property
    def name(self) -> str:
        """What it is found by in its file."""
        return str(self.optuna.study_name)

    @property
    def trials(self) -> list[Trial]:
        """Every trial, in the order in which they were drawn."""
        reasons = self.optuna.user_attrs
        states = {"COMPLETE": "finished", "RUNNING": "running"}
        return [
            Trial(
                number=each.number,
                values=dict(each.params),
                state=states.get(each.state.name, "failed"),  # type: ignore[arg-type]
                score=each.value if each.state.name == "COMPLETE" else None,
                reason=str(reasons.get(f"{FAILURE}{each.number}", "")),
            )
            for each in self.optuna.get_trials(deepcopy=False)
        ]

    @property
    def finished(self) -> list[Trial]:
        """The trials that have a score."""
        return [trial for trial in self.trials if trial.state == "finished"]

    @property
    def best(self) -> Trial | None:
        """The trial with the best score, the first of equals; None before there is one."""
        sign = 1 if self.direction == "maximize" else -1
        return max(self.finished, key=lambda trial: sign * (trial.score or 0.0), default=None)

    def draw(self) -> Trial:
        """Draw the values of a new trial.

        The sampler is made anew from the seed, the study's name and the trial's number: a sweep that was interrupted
        draws what it would have drawn, and studies of other settings under one `name` never the same.
        """
        samplers = require_optuna().samplers
        text = f"{self.seed} {self.name} {len(self.trials)}"
        seed = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
        self.optuna.sampler = samplers.TPESampler(seed=seed, constant_liar=True)  # keeps off what runs at the same time
        drawn = self.optuna.ask({key: _distribution(each) for key, each in self.dimensions.items()})
        return Trial(drawn.number, dict(drawn.params))

    def take_up(self) -> list[Trial]:
        """Return the trials that were interrupted, to be run again; those without all their values are given up."""
        interrupted = [trial for trial in self.trials if trial.state == "running"]
        for trial in interrupted:
            if set(trial.values) != set(self.dimensions):
                self.fail(trial, "interrupted before its values were drawn")
        return [trial for trial in interrupted if set(trial.values) == set(self.dimensions)]

    def finish(self, trial: Trial, score: float) -> None:
        """Keep the score of a trial."""
        self.optuna.tell(trial.number, score)

    def fail(self, trial: Trial, reason: str) -> None:
        """Keep that a trial failed, and why."""
        self.optuna.set_user_attr(f"{FAILURE}{trial.number}", reason)
        self.optuna.tell(trial.number, state=require_optuna().trial.TrialState.FAIL)


def require_optuna() -> Any:
    """Import Optuna; `UsageError` with the line that installs it where it is missing."""
    try:
        import optuna
        import optuna.storages.journal
    except ImportError as error:
        raise UsageError(INSTALL) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def open_study(
    path: Path,
    name: str,
    dimensions: Mapping[str, Dimension],
    direction: Direction,
    seed: int,
    settings: dict[str, Any],
    told: Path | None = None,
) -> Study:
    """Open the study `name` in the file `path`, or begin it there.

    `told`: the file that is named in an error instead of `path`, which is its copy. `settings`: dotted key -> value of
    what all its trials share and their scores depend on. `UsageError` that names the keys where the study was begun
    with others, or with another search space: their scores cannot be compared.
    """
    optuna = require_optuna()
    path.parent.mkdir(parents=True, exist_ok=True)
    _drop_torn_line(path)
    journal = optuna.storages.journal
    # a lock file instead of fcntl, and lines that are only appended: both hold over NFS
    backend = journal.JournalFileBackend(str(path), journal.JournalFileOpenLock(str(path)))
    try:
        storage = optuna.storages.JournalStorage(backend)
        found = optuna.create_study(storage=storage, study_name=name, direction=direction, load_if_exists=True)
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError) as error:
        raise ArtefactError(
            f"the trials in {told or path} cannot be read ({type(error).__name__}: {error}); move the file away, or "
            "begin another study with hydra.sweeper.study_name=ANOTHER"
        ) from error
    ranges = {f"range of {key}": str(dimension) for key, dimension in dimensions.items()}
    now = {**ranges, "hydra.sweeper.direction": direction, **settings}
    before = found.user_attrs.get(MADE_WITH)
    if before is None:
        found.set_user_attr(MADE_WITH, now)
    elif changed := changed_keys(before, now):
        rows = "\n".join(f"  {key}: {before.get(key)} there, {now.get(key)} now" for key in changed)
        raise UsageError(
            f"the study {name} ({told or path}) was begun with other settings, so that its scores do not compare:\n"
            f"{rows}\n"
            "go on with those, or begin another with hydra.sweeper.study_name=ANOTHER"
        )
    return Study(found, path, dimensions, direction, seed)


def read_trials(
    path: Path,
    name: str,
    dimensions: Mapping[str, Dimension],
    direction: Direction,
    seed: int,
    settings: dict[str, Any],
) -> list[Trial]:
    """Return the trials of a study that may be there or not, and leave its file alone; else as `open_study`."""
    with tempfile.TemporaryDirectory(prefix="segfw-study-") as folder:
        copy = Path(folder) / "study.journal"
        if path.exists():
            copy.write_bytes(path.read_bytes())
        return open_study(copy, name, dimensions, direction, seed, settings, told=path).trials


def _distribution(dimension: Dimension) -> Any:
    distributions = require_optuna().distributions
    if isinstance(dimension, Choice):
        return distributions.CategoricalDistribution(list(dimension.values))
    low, high, log, step = dimension.low, dimension.high, dimension.log, dimension.step
    if dimension.integer:
        return distributions.IntDistribution(int(low), int(high), log=log, step=int(step or 1))
    return distributions.FloatDistribution(low, high, log=log, step=step)


def _drop_torn_line(path: Path) -> None:
    """Cut off a last line that a full disk or a power cut left unfinished; with it the file could not be read."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
            os.fsync(file.fileno())
