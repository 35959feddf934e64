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
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from segfw.core.support.attempts import attempt
from segfw.core.types import Geometry
from segfw.inference.predictor import CaseLogits, CasePredictor, PreparedImage
from segfw.stages.outcome import failure_of
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
    with _Threads() as threads:
        try:
            _segment(steps, take, threads)
        finally:
            steps.stopped = True  # of what is still at work nothing is told any more


def _segment(steps: "_Steps", take: Callable[[], Claimed | Nothing], threads: "_Threads") -> None:
    ahead: Future[_Piece[PreparedImage] | None] | None = None
    behind: Future[None] | None = None
    while True:
        prepared = None if ahead is None else ahead.result()
        given = take()
        ahead = threads.begin(partial(steps.read, given)) if isinstance(given, Claimed) else None
        computed = None if prepared is None else steps.compute(prepared)
        prepared = None  # its memory goes before more is taken
        if behind is not None:
            behind.result()
        behind = None if computed is None else threads.begin(partial(steps.finish, computed))
        computed = None
        if ahead is None and behind is None:
            if given is Nothing.LEFT:
                return
            time.sleep(PAUSE)


@dataclass(frozen=True, eq=False)
class _Piece(Generic[R]):
    """A case on its way from one step to the next, with what the last step made of it."""

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
        """Read and preprocess the images of a case."""
        return self._failure_told(claimed, partial(self._read, claimed))

    def compute(self, piece: _Piece[PreparedImage]) -> _Piece[CaseLogits] | None:
        """Compute the logits of a preprocessed case."""
        return self._failure_told(piece.claimed, partial(self._compute, piece))

    def finish(self, piece: _Piece[CaseLogits]) -> None:
        """Bring it back onto the image's grid and write it, unless its claim was lost."""
        self._failure_told(piece.claimed, partial(self._finish, piece))

    def _failure_told(self, claimed: Claimed, step: Callable[[], R]) -> R | None:
        done = attempt(step)
        if done.error is None:
            return done.result()
        if not self.stopped:
            failure = failure_of(done.error)
            self._tell(Outcome(claimed.case.name, failure=failure.reason, trace=failure.trace))
        return None

    def _read(self, claimed: Claimed) -> _Piece[PreparedImage]:
        begun = time.monotonic()
        volume = read_input(claimed.case.images)
        grid = grid_for(claimed.case.segmentations, volume, claimed.case.images)
        image = self._predictor.prepare(volume)
        self._predictor.tell_padding(volume, claimed.case.name)
        if (times := self._predictor.relative_size(image)) >= LARGE:
            log.warning(
                "%s: resampled to the model's spacing it has %.0f times the voxels of the median case planned for, "
                "and will take about as many times as long; are its spacings right?",
                claimed.case.name,
                times,
            )
        return _Piece(claimed, image, grid, time.monotonic() - begun)

    def _compute(self, piece: _Piece[PreparedImage]) -> _Piece[CaseLogits]:
        begun = time.monotonic()
        logits = self._predictor.compute(piece.content)
        return _Piece(piece.claimed, logits, piece.geometry, piece.seconds + time.monotonic() - begun)

    def _finish(self, piece: _Piece[CaseLogits]) -> None:
        begun = time.monotonic()
        file = piece.claimed.case.beside.get(PROBABILITIES)
        piece.claimed.lock.check()
        prediction = self._predictor.restore(piece.content, probabilities_file=file)
        piece.claimed.lock.check()
        if not self.stopped:
            write_case(piece.claimed.case, prediction, piece.geometry, self._predictor.bundle)
            self._tell(Outcome(piece.claimed.case.name, piece.seconds + time.monotonic() - begun))


class _Threads:
    """Calls beside this thread. Whatever ends the block ends the program even while they are within compiled code.

    They may be for minutes, and Python must not be taken down around them.
    """

    def __init__(self) -> None:
        self._calls: list[Future[Any]] = []  # not threads: an interrupted `join` takes one for ended (Python 3.11)
        self._status = 1

    def begin(self, call: Callable[[], R]) -> Future[R]:
        """Start `call` in a thread of its own, for whose end the program does not wait."""
        future: Future[R] = Future()
        self._calls = [*(each for each in self._calls if not each.done()), future]  # known before it can run
        threading.Thread(target=_answer, args=(future, call), name="prediction", daemon=True).start()
        return future

    def __enter__(self) -> "_Threads":
        atexit.register(self._leave)  # before an interruption is possible, not while one is answered
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KeyboardInterrupt):
            self._status = STATUS_OF_CTRL_C
        elif isinstance(error, SystemExit) and isinstance(error.code, int):
            self._status = error.code
        wait(self._calls, None if error is None else GRACE)
        if not self._busy():
            atexit.unregister(self._leave)

    def _busy(self) -> bool:
        return not all(call.done() for call in self._calls)

    def _leave(self) -> None:
        if self._busy():
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self._status)


def _answer(future: Future[R], call: Callable[[], R]) -> None:
    done = attempt(call, BaseException)
    if done.error is None:
        future.set_result(done.result())
    else:
        future.set_exception(done.error)
