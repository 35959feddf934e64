"""Several trackers told as one: what may leave this machine is decided here, and no tracker can end a training."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from segfw.core.errors import TimeIsOver
from segfw.tracking.trackers import Cell, Picture, RunEnd, Tracker

log = logging.getLogger(__name__)
failures = logging.getLogger("segfw.failures")  # of tracebacks, which are for the log file alone

UPLOADED_WITH = {"model": "model", "plan": "model", "fingerprint": "images"}
"""Kind of file -> the word of `logger.upload` that lets it go. The package holds the plan, so both go together; the
fingerprint's picture has a dot for every case. The plan that a training follows is part of the scrubbed config."""


class FanOut:
    """A tracker that tells others, by name.

    One with `remote=True` is told scalars; pictures, tables and files only as `upload` says. One that raises is told
    nothing any more.
    """

    remote = False

    def __init__(self, upload: Collection[str]) -> None:
        self.upload = frozenset(upload)
        self._open: dict[str, Tracker] = {}

    def add(self, name: str, open_tracker: Callable[[], Tracker]) -> None:
        """Open a tracker and tell it everything from here on."""
        try:
            self._open[name] = open_tracker()
        except Exception as error:  # as in `_tell`
            _complain(name, error)

    def shows(self, word: str) -> bool:
        """Whether some tracker takes what `word` of `logger.upload` stands for: whether it is worth making."""
        return any(self._may(tracker, word) for tracker in self._open.values())

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Tell every tracker."""
        for name in list(self._open):
            self._tell(name, lambda tracker: tracker.scalars(values, epoch))

    def picture(self, name: str, picture: Picture, caption: str, epoch: int) -> None:
        """Tell those that may have images."""
        for place in self._allowed("images"):
            self._tell(place, lambda tracker: tracker.picture(name, picture, caption, epoch))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Tell those that may have tables; pictures in them only where those may be had, too."""
        blind = [[None if isinstance(cell, Path) else cell for cell in row] for row in rows]
        for place in self._allowed("tables"):
            told = rows if self._may(self._open[place], "images") else blind
            self._tell(place, lambda tracker, told=told: tracker.table(name, columns, told))  # type: ignore[misc]

    def files(self, name: str, kind: str, paths: Sequence[Path]) -> None:
        """Tell those that may have files of this kind."""
        for place in self._allowed(UPLOADED_WITH[kind]):
            self._tell(place, lambda tracker: tracker.files(name, kind, paths))

    def close(self, end: RunEnd) -> None:
        """Close all, also where one is interrupted meanwhile."""
        with ExitStack() as stack:
            for name in list(self._open):
                stack.callback(self._close, name, end)

    def _close(self, name: str, end: RunEnd) -> None:
        tracker = self._open.pop(name)
        try:
            tracker.close(end)
        except Exception as error:  # as in `_tell`
            _complain(name, error)

    def _allowed(self, word: str) -> list[str]:
        return [name for name, tracker in self._open.items() if self._may(tracker, word)]

    def _may(self, tracker: Tracker, word: str) -> bool:
        return not tracker.remote or word in self.upload

    def _tell(self, name: str, tell: Callable[[Tracker], None]) -> None:
        """Tell one tracker; leave it out from here on if it raises.

        Whatever it raises: trackers are clients of services, whose libraries raise their own errors, those of HTTP, of
        protobuf, of sockets and of disks, and none is worth a training.
        """
        tracker = self._open[name]
        try:
            tell(tracker)
        except Exception as error:
            _complain(name, error)
            self._open.pop(name)
            try:
                tracker.close(RunEnd.FAILED)
            except Exception as second:  # it is broken already
                failures.error("logger %s could not be closed either", name, exc_info=second)


@contextmanager
def telling(trackers: Mapping[str, Callable[[], Tracker]], upload: Collection[str]) -> Iterator[FanOut]:
    """Open the named `trackers` and close them when the block ends, with the end that the run has had."""
    fan_out = FanOut(upload)
    try:
        for name, open_tracker in trackers.items():
            fan_out.add(name, open_tracker)
        yield fan_out
    except BaseException as error:
        fan_out.close(_end_by(error))
        raise
    fan_out.close(RunEnd.FINISHED)


def _end_by(error: BaseException) -> RunEnd:
    """Say what a run has come to that `error` ended: Ctrl-C, SIGTERM and used-up time are no failures."""
    from_outside = isinstance(error, KeyboardInterrupt | SystemExit | TimeIsOver)
    return RunEnd.KILLED if from_outside else RunEnd.FAILED


def _complain(name: str, error: Exception) -> None:
    reason = (str(error).strip().splitlines() or ["no message"])[0]
    log.warning(
        "logger %s fails and is left out from here on, the work goes on: %s: %s", name, type(error).__name__, reason
    )
    failures.error("logger %s", name, exc_info=error)
