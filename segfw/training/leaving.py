"""When a training is left that a signal interrupts: between two steps of the optimizer, with all that is done saved.

    signal      Ctrl-C, SIGTERM, or what a scheduler sends before it takes the computer away
       |
    | step | step |                     the step at hand is finished, `last.ckpt` written,
                  saved, answered       then the signal gets the answer that it would have had at once

The same signal again, or `PATIENCE` seconds without the end of a step, and it is answered where the training stands.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from segfw.core.support.attempts import on_error
from segfw.core.support.interruption import SIGNALS as ENDING
from segfw.core.support.parents import EXIT_AFTER_SIGTERM
from segfw.core.support.slurm import WARNINGS

log = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds: schedulers wait for 30 after SIGTERM."""
POLL_SECONDS = 0.5
SIGNALS = (*ENDING, *WARNINGS)
Handler = Callable[[int, FrameType | None], object]


class Leaving:
    """Keeps signals that arrive while the optimizer steps until `leave` is called."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._handlers: dict[int, Handler] = {}
        self._arrived: dict[int, float] = {}
        self._steps = False

    @property
    def wanted(self) -> bool:
        """Whether a signal waits for its answer."""
        return bool(self._arrived)

    def begin(self) -> None:
        """Let signals wait from here on: steps are made."""
        self._steps = True

    def end(self) -> None:
        """Let no signal wait any more; those that do are answered."""
        self._steps = False
        if self.wanted:
            self.leave("")

    def forget(self) -> None:
        """Let no signal wait any more: something else ends the training."""
        self._steps = False

    def leave(self, where: str) -> None:
        """Answer what has arrived; returns if nobody's answer is to end. All is saved.

        Another process may be the one that was told, of several that train together: then this one ends.
        """
        if not self._arrived:
            raise SystemExit(EXIT_AFTER_SIGTERM)
        names = ", ".join(signal.Signals(number).name for number in self._arrived)
        log.info("%s%s: all is saved, the same command goes on from there", names, where)
        self._answer()

    def _answer(self) -> None:
        while self._arrived:
            number = next(iter(self._arrived))
            del self._arrived[number]
            self._handlers[number](number, None)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Stand before the handlers of this process' signals for the block; those without one are left alone."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        found = {number: signal.getsignal(number) for number in SIGNALS}
        self._handlers = {number: handler for number, handler in found.items() if callable(handler)}
        ended = threading.Event()
        threading.Thread(target=self._watch, args=(ended,), name="patience", daemon=True).start()
        try:
            with on_error(lambda _: self._answer()):  # what failed may have failed by it
                for number in self._handlers:
                    signal.signal(number, self._take)
                yield
        finally:
            self._steps = False
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            ended.set()

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._steps and number not in self._arrived:
            self._arrived[number] = time.monotonic()
            return
        self._arrived.pop(number, None)
        self._handlers[number](number, frame)

    def _watch(self, ended: threading.Event) -> None:
        """Send a signal that has waited for too long once more."""
        while not ended.wait(POLL_SECONDS):
            for number, since in list(self._arrived.items()):
                if time.monotonic() - since > self._patience:
                    os.kill(os.getpid(), number)


def leave_warnings_to_the_main_process() -> None:
    """Let a process that a command has started go on when a scheduler warns all of a command's processes."""
    for number in SIGNALS:
        if number not in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def leave_signals_to_the_main_process(worker: int = 0) -> None:
    """Let a process that cuts patches go on when all processes of a command are told to end: the main one still needs
    it for the step at hand, and ends it by SIGTERM.
    """
    leave_warnings_to_the_main_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # out of reach of a SIGTERM to all
