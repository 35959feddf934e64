"""What a process holds now, its children included, and whether that grows with the work that it does."""

import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from scripts.benchmarks.common import descendants

WARM_UP = 0.2
"""Share of the samples that are not judged: libraries are loaded and buffers made in them."""
WINDOWS = 5
"""A count has the same least value in each of so many stretches: what is open only for a moment is no leak."""


@dataclass(frozen=True)
class Census:
    """What a process and those below it hold.

    `memory`: bytes, without pages of files, which the system takes back when it likes. What processes share counts for
    each: of a forked one that shares less and less of its parent's, only what it adds must count as growth.
    `handles`: open files; `threads`: without W&B's process, whose runtime (Go's) makes them as it needs; `children`:
    processes below the first; `shared`: mapped segments of shared memory; `temporary`: files in the folder for them.
    """

    memory: int
    handles: int
    threads: int
    children: int
    shared: int
    temporary: int


COUNTS = tuple(field.name for field in fields(Census) if field.name != "memory")


def take_census(pid: int) -> Census:
    """Return what the process `pid` and all below it hold now; of one that is just ending, what is left."""
    tree = descendants(pid)
    return Census(
        memory=sum(map(_held, tree)),
        handles=sum(_entries(each, "fd") for each in tree),
        threads=sum(_entries(each, "task") for each in tree if _name(each) != "wandb-core"),
        children=len(tree) - 1,
        shared=sum(_mapped(each) for each in tree),
        temporary=sum(len(files) for _, _, files in os.walk(tempfile.gettempdir())),
    )


def _held(pid: int) -> int:
    try:
        account = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return 1024 * sum(map(int, re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+) kB", account, re.MULTILINE)))


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _entries(pid: int, kind: str) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/{kind}").iterdir()))
    except OSError:
        return 0


def _mapped(pid: int) -> int:
    try:
        return Path(f"/proc/{pid}/maps").read_text(errors="replace").count("/dev/shm/")
    except OSError:
        return 0


def append(file: Path, census: Census) -> None:
    """Add a line to a file of samples, which `read` reads."""
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(asdict(census)) + "\n")


def read(file: Path) -> list[Census]:
    """Return the samples of a file."""
    return [Census(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def judged(samples: Sequence[Census]) -> list[Census]:
    """Leave out the warm-up."""
    return list(samples[round(len(samples) * WARM_UP) :])


def memory_per_sample(samples: Sequence[Census]) -> float:
    """Return by how many bytes memory grows from one sample to the next, after the warm-up, by least squares."""
    bytes_held = [census.memory for census in judged(samples)]
    return float(np.polyfit(np.arange(len(bytes_held)), bytes_held, 1)[0])


def least_counts(samples: Sequence[Census], name: str) -> list[int]:
    """Return the least of a count in each stretch after the warm-up."""
    counts = np.array([getattr(census, name) for census in judged(samples)])
    return [int(window.min()) for window in np.array_split(counts, WINDOWS) if window.size]


def growing(samples: Sequence[Census], most_memory: float) -> list[str]:
    """Say what grows: memory by more than `most_memory` bytes a sample, or any count at all."""
    found = []
    slope = memory_per_sample(samples)
    if slope > most_memory:
        found.append(f"memory grows by {slope / 1e3:.1f} kB each time, {most_memory / 1e3:g} kB are allowed")
    for name in COUNTS:
        least = least_counts(samples, name)
        if len(set(least)) > 1 and least[-1] > least[0]:
            found.append(f"{name}: {', '.join(map(str, least))} in {WINDOWS} stretches")
    return found
