"""Several trackers told as one: what may leave this machine is decided here, and no tracker can end a training."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from segfw.core.errors import TimeIsOver
from segfw.core.support.attempts import attempt, on_error
from segfw.tracking.trackers import Archive, Cell, Gallery, Picture, RunEnd, Tracker

log = logging.getLogger(__name__)
failures = logging.getLogger("segfw.failures")  # of tracebacks, which are for the log file alone

UPLOADED_WITH = {"model": "model", "plan": "model", "fingerprint": "images"}
"""Kind of file -> the word of `logger.upload` that lets it go. The package holds the plan, so both go together; the
fingerprint's picture has a dot for every case. The plan that a training follows is part of the scrubbed config."""


class FanOut:
    """A tracker that tells others, by name.

    Each is told what it has a method for, one with `remote=True` pictures, tables and files only as `upload` says. One
    that raises is told nothing any more.
    """

    remote = False

    def __init__(self, upload: Collection[str]) -> None:
        self.upload = frozenset(upload)
        self._open: dict[str, Tracker] = {}

    def add(self, name: str, open_tracker: Callable[[], Tracker]) -> None:
        """Open a tracker and tell it everything from here on."""
        opened = attempt(open_tracker)
        if opened.error is None:
            self._open[name] = opened.result()
        else:
            _complain(name, opened.error)

    def shows(self, word: str) -> bool:
        """Whether some tracker shows what `word` of `logger.upload` stands for: whether it is worth making."""
        return bool(self._galleries(word))

    def keeps(self, kind: str) -> bool:
        """Whether some tracker takes files of this kind."""
        return bool(self._archives(kind))

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Tell every tracker."""
        for place, tracker in list(self._open.items()):
            self._tell(place, partial(tracker.scalars, values, epoch))

    def picture(self, name: str, picture: Picture, caption: str, epoch: int) -> None:
        """Tell those that may have images."""
        for place, gallery in self._galleries("images").items():
            self._tell(place, partial(gallery.picture, name, picture, caption, epoch))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Tell those that may have tables; pictures in them only where those may be had, too."""
        blind = [[None if isinstance(cell, Path) else cell for cell in row] for row in rows]
        for place, gallery in self._galleries("tables").items():
            self._tell(place, partial(gallery.table, name, columns, rows if self._may(gallery, "images") else blind))

    def files(self, name: str, kind: str, paths: Sequence[Path]) -> None:
        """Tell those that may have files of this kind."""
        for place, archive in self._archives(kind).items():
            self._tell(place, partial(archive.files, name, kind, paths))

    def close(self, end: RunEnd) -> None:
        """Close all, also where one is interrupted meanwhile."""
        with ExitStack() as stack:
            for name in list(self._open):
                stack.callback(self._close, name, end)

    def _close(self, name: str, end: RunEnd) -> None:
        closed = attempt(partial(self._open.pop(name).close, end))
        if closed.error is not None:
            _complain(name, closed.error)

    def _galleries(self, word: str) -> dict[str, Gallery]:
        """Return those that show what `word` of `logger.upload` stands for, and may."""
        found = {name: tracker for name, tracker in self._open.items() if isinstance(tracker, Gallery)}
        return {name: gallery for name, gallery in found.items() if self._may(gallery, word)}

    def _archives(self, kind: str) -> dict[str, Archive]:
        """Return those that keep files of a kind, and may."""
        found = {name: tracker for name, tracker in self._open.items() if isinstance(tracker, Archive)}
        return {name: archive for name, archive in found.items() if self._may(archive, UPLOADED_WITH[kind])}

    def _may(self, tracker: Tracker, word: str) -> bool:
        return not tracker.remote or word in self.upload

    def _tell(self, name: str, tell: Callable[[], None]) -> None:
        """Tell one tracker; leave it out from here on if it raises.

        Whatever it raises: trackers are clients of services, whose libraries raise their own errors, those of HTTP, of
        protobuf, of sockets and of disks, and none is worth a training.
        """
        told = attempt(tell)
        if told.error is None:
            return
        _complain(name, told.error)
        closed = attempt(partial(self._open.pop(name).close, RunEnd.FAILED))
        if closed.error is not None:  # it is broken already
            failures.error("logger %s could not be closed either", name, exc_info=closed.error)


@contextmanager
def telling(trackers: Mapping[str, Callable[[], Tracker]], upload: Collection[str]) -> Iterator[FanOut]:
    """Open the named `trackers` and close them when the block ends, with the end that the run has had."""
    fan_out = FanOut(upload)
    with on_error(lambda error: fan_out.close(_end_by(error)), BaseException):
        for name, open_tracker in trackers.items():
            fan_out.add(name, open_tracker)
        yield fan_out
    fan_out.close(RunEnd.FINISHED)


def _end_by(error: BaseException) -> RunEnd:
    """Say what a run has come to that `error` ended: Ctrl-C, SIGTERM and used-up time are no failures."""
    from_outside = isinstance(error, KeyboardInterrupt | SystemExit | TimeIsOver)
    return RunEnd.KILLED if from_outside else RunEnd.FAILED


def _complain(name: str, error: BaseException) -> None:
    reason = (str(error).strip().splitlines() or ["no message"])[0]
    log.warning(
        "logger %s fails and is left out from here on, the work goes on: %s: %s", name, type(error).__name__, reason
    )
    failures.error("logger %s", name, exc_info=error)
