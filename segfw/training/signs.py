"""The signs of life of a training: a small file in the run's folder that others read while it goes on."""

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from segfw.core.support.conversion import from_plain, to_plain
from segfw.core.support.files import replace_text
from segfw.core.support.strict_json import load_strict_json

log = logging.getLogger(__name__)

SECONDS_BETWEEN_SIGNS = 10.0


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    `epochs_done` counts parts of an epoch, too; `epochs`: how many there will be, None where time is the limit;
    `cases_done` of `cases` whole cases are validated, None before that; `seconds_left`: of training or, once that is
    done, of validation, by measured speed, None before anything was measured; `updated`: seconds since the epoch.
    """

    epochs_done: float
    epochs: int | None
    seconds_left: float | None = None
    cases_done: int | None = None
    cases: int | None = None
    updated: float = 0.0


def load_progress(path: Path) -> Progress | None:
    """Return what the file says; None where there is none. `ValueError` (or a `UsageError`) for a damaged one."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return from_plain(Progress, load_strict_json(text), path.name)


class SignsOfLife:
    """Keeps the latest `Progress` in the file `path`, written every ten seconds at most and when it is `urgent`.

    A file that cannot be written is said once and stops nothing.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path, self._clock = path, clock
        self._written = -math.inf
        self._latest = Progress(0.0, None)
        self._told = False

    @property
    def due(self) -> bool:
        """Whether the next sign would be written; asked before one is put together."""
        return self._clock() - self._written >= SECONDS_BETWEEN_SIGNS

    def train(self, epochs_done: float, epochs: int | None, seconds_left: float | None, urgent: bool = False) -> None:
        """Say how far the training is."""
        self._write(Progress(epochs_done, epochs, seconds_left), urgent)

    def validate(self, cases_done: int, cases: int, seconds_left: float | None) -> None:
        """Say how far the validation of whole cases is."""
        latest = replace(self._latest, cases_done=cases_done, cases=cases, seconds_left=seconds_left)
        self._write(latest, urgent=cases_done == 0)

    def _write(self, progress: Progress, urgent: bool) -> None:
        self._latest = progress
        if not (urgent or self.due):
            return
        self._written = self._clock()
        try:
            replace_text(self.path, json.dumps(to_plain(replace(progress, updated=time.time()))))
        except OSError as error:
            if not self._told:
                log.warning(
                    "%s cannot be written (%s): `status` will not know how far this is", self.path, error.strerror
                )
            self._told = True
