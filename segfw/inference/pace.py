"""How far a long image is: a line a minute while windows go over it."""

import logging
import time
from collections.abc import Callable

from segfw.core.support.words import by, in_words
from segfw.core.types import Shape

log = logging.getLogger(__name__)

PERIOD = 60.0  # seconds between two lines


class Pace:
    """Counts the windows of an image of `shape` voxels and logs now and then how many are left.

    `clock`: seconds, from any beginning. Nothing is said of an image that takes less than `PERIOD`.
    """

    def __init__(self, total: int, shape: Shape, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._shape, self._clock = total, shape, clock
        self._done = 0
        self._begun = self._said = clock()

    def advance(self, windows: int) -> None:
        """Take note that so many more windows are done."""
        self._done += windows
        now = self._clock()
        if now - self._said < PERIOD or self._done >= self._total:
            return
        self._said = now
        left = (now - self._begun) / self._done * (self._total - self._done)
        shape = by(self._shape)
        log.info("an image of %s voxels: %d of %d windows, %s left", shape, self._done, self._total, in_words(left))
