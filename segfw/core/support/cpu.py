"""How many processor cores this process may really use."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables by which linear algebra libraries count their threads, read when they are loaded."""

_sharing = [1]  # how many processes divide the cores, the innermost block's number last


@contextmanager
def sharing_cores(processes: int) -> Iterator[None]:
    """Let this process, while the block runs, count its part of the cores only: so many like it share them."""
    _sharing.append(processes)
    try:
        yield
    finally:
        _sharing.pop()


def available_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the processor cores this process may use: affinity, the quota of its control group (v2 and v1), and what
    it leaves to the processes that it shares them with.
    """
    return max(1, _cores(cgroup) // _sharing[-1])


def _cores(cgroup: Path) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota(cgroup)
    return max(1, min(cores, math.floor(quota) if quota else cores))


def _cgroup_quota(cgroup: Path) -> float | None:
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if quota in ("max", "-1") or float(period) <= 0:
        return None
    return float(quota) / float(period)
