"""Graphics cards of one computer, each of which one job at a time may call its own."""

import hashlib
import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from segfw.core.support.locks import Held, hold

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0


def visible_cards() -> tuple[str, ...]:
    """Return what names each card that this process sees, in the order of their numbers here.

    A number or, where CUDA_VISIBLE_DEVICES has them, another name; the same for every process whose names are of one
    kind, whichever of the cards it sees.
    """
    count = torch.cuda.device_count()
    given = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(given[:count]) if len(given) >= count else tuple(map(str, range(count)))


@contextmanager
def claimed_card(folder: Path, cards: Sequence[str]) -> Iterator[int]:
    """Hold one of this computer's `cards`, in no other process's hands, for the block; yield its place among them.

    The claims are lock files in `folder`, which the processes share. Waits where every card is taken, and says so
    once; the card of a process that has died is free.
    """
    with ExitStack() as held:
        told = False
        while (number := _claim(folder, cards, held)) is None:
            if not told:
                log.info("every graphics card (%s) is taken by another job; waiting", ", ".join(cards))
                told = True
            time.sleep(POLL_SECONDS)
        yield number


def _claim(folder: Path, cards: Sequence[str], held: ExitStack) -> int | None:
    """Take the first card that nobody holds, in `held`; None where there is none."""
    host = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
    for number, card in enumerate(cards):
        try:
            held.enter_context(hold(folder / f"{host}_{card.replace('/', '_')}.lock", f"card {card}", wait=False))
        except Held:
            continue
        return number
    return None
