"""Signs of life between ranks of different computers, by files: a lost computer closes no connection.

Collectives would wait for it for half an hour, and whole-case validation for days. Each rank renews a file of its own;
rank 0 watches those of all others, and they watch rank 0's.
"""

import itertools
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from segfw.core.support.repeating import repeating

log = logging.getLogger(__name__)

BEAT_SECONDS = 2.0
LOST_AFTER = 600.0
"""Seconds without a sign. Longer than network file systems show a reader what is gone, often 60, and than SLURM waits
for a node, 300 by default: it ends the job and queues it again, if it comes first."""
Sign = Callable[[], object]


@contextmanager
def beating(write: Callable[[int], object]) -> Iterator[None]:
    """Call `write` with a number that counts up, now and every `BEAT_SECONDS` while the block runs."""
    beats = itertools.count(1)

    def renew() -> None:
        try:
            write(next(beats))
        except OSError as error:
            log.warning("could not tell the other ranks that this one is alive: %s", error)

    write(next(beats))
    with repeating(renew, BEAT_SECONDS, "ranks"):
        yield


def sign_in(path: Path) -> Sign:
    """Return what reads the sign that a rank renews in `path`; None before there is one."""

    def read() -> str | None:
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    return read


@contextmanager
def watching(signs: Mapping[int, Sign], lost: Callable[[int, float], None] | None = None) -> Iterator[None]:
    """Call `lost` with the rank, and the seconds, whose sign in `signs` has not changed for `LOST_AFTER` of the block.

    By default the process ends at once, with a message: its main thread is held by a collective, which nothing ends in
    order. Only looks that could be had count, so that neither a suspended process nor a file system that does not
    answer takes the others for lost.
    """
    last: dict[int, object] = dict.fromkeys(signs)
    silent = dict.fromkeys(signs, 0.0)

    def look() -> bool:
        for rank, sign in signs.items():
            try:
                now = sign()
            except OSError:
                continue
            silent[rank] = silent[rank] + BEAT_SECONDS if now == last[rank] else 0.0
            last[rank] = now
            if silent[rank] >= LOST_AFTER:
                (lost or leave_lost)(rank, silent[rank])
                return True
        return False

    with repeating(look, BEAT_SECONDS, "watch over ranks"):
        yield


def leave_lost(rank: int, seconds: float) -> None:
    """End this process, since a rank that it waits for is gone."""
    sys.stderr.write(
        f"segfw: rank {rank} has given no sign for {seconds:.0f} s: its computer, network or file system is taken to "
        "be lost, and this rank stops; give the command again to go on from the last checkpoint\n"
    )
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
