"""Cases given out one by one, each to one taker: to processes of this command, and to other commands that share the
output folder, on any computer.

A case that is worked on is claimed by a lock file beside its segmentation. What a command that was killed had claimed
is free again: at once on its own computer, elsewhere when the lock has expired.
"""

import logging
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from segfw.core.support.files import names_of_remains, remove_remains
from segfw.core.support.interruption import uninterrupted
from segfw.core.support.locks import Held, Lock, hold
from segfw.stages.prediction.outputs import PredictionCase

log = logging.getLogger(__name__)


class Nothing(Enum):
    """Why no case is given: others work on all that is left, or nothing is left."""

    YET = "yet"
    LEFT = "left"


@dataclass(frozen=True)
class Claimed:
    """A case that nobody else may work on. `lock`: to be checked before its files are written."""

    case: PredictionCase
    lock: Lock


class CaseList:
    """Hands out `cases` but for those that are there; with `overwrite` those too, unless another command has made them
    anew since this list was made.

    Every case taken has to be given back, and the list closed, which frees what is still claimed.
    """

    def __init__(self, cases: Sequence[PredictionCase], overwrite: bool = False) -> None:
        self._before = {case.name: _version(case.target) if overwrite else None for case in cases}
        self._waiting = deque(case for case in cases if not self._is_done(case))
        self._claims: dict[str, tuple[Claimed, ExitStack]] = {}
        self._remains = set().union(*map(names_of_remains, {case.target.parent for case in cases}))
        self._owner, self._told_of_others = "", False
        self.size = len(self._waiting)
        self.skipped = len(cases) - self.size

    @property
    def waiting(self) -> tuple[str, ...]:
        """The names of the cases that this command has not taken, and nobody else has finished as far as is known."""
        return tuple(case.name for case in self._waiting)

    def left_of(self, names: Collection[str]) -> tuple[str, ...]:
        """Return those of `names` that nobody has segmented; the others count as skipped from here on."""
        left = tuple(case.name for case in self._waiting if case.name in names and not self._is_done(case))
        self.skipped += len(names) - len(left)
        return left

    def take(self) -> Claimed | Nothing:
        """Claim a case, the next in order that nobody works on."""
        for _ in range(len(self._waiting)):
            case = self._waiting.popleft()
            with uninterrupted():  # a claim that nobody knows of would stay behind
                claimed = None if self._is_done(case) else self._claim(case)
            if self._is_done(case):  # by another command, perhaps between those two
                self.skipped += 1
                self.give_back(case.name)
            elif claimed is not None:
                return claimed
            else:
                self._waiting.append(case)
        if self._waiting and not self._told_of_others:
            log.info("%s; waiting for what others have begun", self._owner)
            self._told_of_others = True
        return Nothing.YET if self._waiting else Nothing.LEFT

    def give_back(self, name: str, interrupted: bool = False) -> None:
        """Free a case, whatever has become of it; what an interrupted one has left of its files is removed."""
        with uninterrupted():
            if name in self._claims:
                claimed, release = self._claims.pop(name)
                if interrupted:
                    _remove_remains(claimed.case)
                release.close()

    def close(self) -> None:
        """Free all cases, as interrupted ones."""
        for name in list(self._claims):
            self.give_back(name, interrupted=True)

    def _is_done(self, case: PredictionCase) -> bool:
        before = self._before[case.name]
        return case.is_there and (before is None or _version(case.target) != before)

    def _claim(self, case: PredictionCase) -> Claimed | None:
        release = ExitStack()
        path = case.target.with_name(f".{case.target.name}.lock")
        try:
            lock = release.enter_context(hold(path, case.name, wait=False))
        except Held as error:
            self._owner = str(error)
            return None
        # Each look for remains goes through the whole folder.
        if lock.inherited or any(file.name in self._remains for file in case.files):
            _remove_remains(case)
        self._claims[case.name] = Claimed(case, lock), release
        return self._claims[case.name][0]


def _remove_remains(case: PredictionCase) -> None:
    for file in case.files:
        remove_remains(file)


def _version(file: Path) -> tuple[int, int] | None:
    """Return what tells a file from one that takes its place; None where there is none."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
