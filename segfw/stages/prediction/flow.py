"""Cases through one model, three at once: the next is read and preprocessed, and the last restored and written, each in
a thread, while this thread computes.

    reading     | 1 | 2   | 3   | ...
    computing       | 1   | 2   | 3   | ...       one case at most on either side of the one that is computed, so that
    restoring             | 1   | 2   | 3   | ...     memory holds three, whatever is the slowest

Inflating files, resampling and the network leave Python's lock to the other threads: processes would win nothing.
"""

import atexit
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from segfw.core.errors import SegfwError
from segfw.core.types import Geometry
from segfw.inference.predictor import CaseLogits, CasePredictor, PreparedImage
from segfw.stages.prediction.claims import Claimed, Nothing
from segfw.stages.prediction.inputs import read_input
from segfw.stages.prediction.outputs import PROBABILITIES, write_case
from segfw.stages.prediction.segmentations import grid_for

log = logging.getLogger(__name__)

R = TypeVar("R")

PAUSE = 1.0  # seconds between two looks at what other commands have begun
LARGE = 20.0  # times the voxels of the median case: worth a word before it keeps the others waiting
GRACE = 1.0  # seconds that a case which is being written has when the command is interrupted
STATUS_OF_CTRL_C = 130


@dataclass(frozen=True)
class Outcome:
    """What became of a case: `seconds` of work, or why it failed. `trace`: of an error that nobody foresaw."""

    name: str
    seconds: float = 0.0
    failure: str = ""
    trace: str = ""


def segment_cases(
    predictor: CasePredictor, take: Callable[[], Claimed | Nothing], tell: Callable[[Outcome], None]
) -> None:
    """Segment what `take` gives until nothing is left, and `tell` of every case when it is done or has failed.

    `take` is called in this thread, `tell` in others too. Whatever interrupts this thread ends the work: nothing is
    written any more but the file at hand, if that takes no longer than a moment.
    """
    steps = _Steps(predictor, tell)
    ahead: _Beside[_Piece[PreparedImage] | None] | None = None
    behind: _Beside[None] | None = None
    try:
        while True:
            prepared = None if ahead is None else ahead.result()
            given = take()
            ahead = _Beside(partial(steps.read, given)) if isinstance(given, Claimed) else None
            computed = None if prepared is None else steps.compute(prepared)
            prepared = None  # its memory goes before more is taken
            if behind is not None:
                behind.result()
            behind = None if computed is None else _Beside(partial(steps.finish, computed))
            computed = None
            if ahead is None and behind is None:
                if given is Nothing.LEFT:
                    return
                time.sleep(PAUSE)
    except BaseException as error:
        steps.stopped = True
        if behind is not None:
            behind.thread.join(GRACE)
        _leave_without([each.thread for each in (ahead, behind) if each is not None], error)
        raise


@dataclass(frozen=True, eq=False)
class _Piece(Generic[R]):
    """A case between two steps."""

    claimed: Claimed
    content: R
    geometry: Geometry
    seconds: float


class _Steps:
    """What is done with a case; each step returns None for one that has failed, of which it has told."""

    def __init__(self, predictor: CasePredictor, tell: Callable[[Outcome], None]) -> None:
        self.stopped = False
        self._predictor, self._tell = predictor, tell

    def read(self, claimed: Claimed) -> _Piece[PreparedImage] | None:
        """Read and preprocess."""
        begun = time.monotonic()
        with self._failure_told(claimed):
            volume = read_input(claimed.case.images)
            grid = grid_for(claimed.case.segmentations, volume, claimed.case.images)
            image = self._predictor.prepare(volume)
            if (times := self._predictor.relative_size(image)) >= LARGE:
                log.warning(
                    "%s: resampled to the model's spacing it has %.0f times the voxels of the median case planned for, "
                    "and will take about as many times as long; are its spacings right?",
                    claimed.case.name,
                    times,
                )
            return _Piece(claimed, image, grid, time.monotonic() - begun)
        return None

    def compute(self, piece: _Piece[PreparedImage]) -> _Piece[CaseLogits] | None:
        """Let the networks look at it."""
        begun = time.monotonic()
        with self._failure_told(piece.claimed):
            logits = self._predictor.compute(piece.content)
            return _Piece(piece.claimed, logits, piece.geometry, piece.seconds + time.monotonic() - begun)
        return None

    def finish(self, piece: _Piece[CaseLogits]) -> None:
        """Bring it back onto the image's grid and write it, unless its claim was lost."""
        begun = time.monotonic()
        with self._failure_told(piece.claimed):
            file = piece.claimed.case.beside.get(PROBABILITIES)
            prediction = self._predictor.restore(piece.content, probabilities_file=file)
            piece.claimed.lock.check()
            if not self.stopped:
                write_case(piece.claimed.case, prediction, piece.geometry, self._predictor.bundle)
                self._tell(Outcome(piece.claimed.case.name, piece.seconds + time.monotonic() - begun))

    @contextmanager
    def _failure_told(self, claimed: Claimed) -> Iterator[None]:
        try:
            yield
        except SegfwError as error:
            self._tell_failure(Outcome(claimed.case.name, failure=str(error)))
        except Exception as error:
            reason = f"unexpected {type(error).__name__}: {error}".splitlines()[0]
            self._tell_failure(Outcome(claimed.case.name, failure=reason, trace=traceback.format_exc()))

    def _tell_failure(self, outcome: Outcome) -> None:
        if not self.stopped:
            self._tell(outcome)


class _Beside(Generic[R]):
    """A call in a thread of its own, for whose end the program does not wait."""

    def __init__(self, call: Callable[[], R]) -> None:
        self._future: Future[R] = Future()
        self.thread = threading.Thread(target=self._run, args=(call,), name="prediction", daemon=True)
        self.thread.start()

    def result(self) -> R:
        """Wait for the thread's end; what the call raised is raised here."""
        self._future.exception()  # joining alone would take an interrupted thread for ended (Python 3.11)
        self.thread.join()
        return self._future.result()

    def _run(self, call: Callable[[], R]) -> None:
        try:
            self._future.set_result(call())
        except BaseException as error:
            self._future.set_exception(error)


def _leave_without(threads: list[threading.Thread], error: BaseException) -> None:
    """See to it that the program ends with the status of `error` even if `threads` are within compiled code by then.

    They may be for minutes, and Python must not be taken down around them.
    """
    status = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1
    status = STATUS_OF_CTRL_C if isinstance(error, KeyboardInterrupt) else status

    def leave() -> None:
        if any(thread.is_alive() for thread in threads):
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    if threads:
        atexit.register(leave)
