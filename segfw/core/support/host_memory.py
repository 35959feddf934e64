"""How much memory this machine, or the container we run in, still has to give."""

import os
from pathlib import Path


def available_memory(cgroup: Path = Path("/sys/fs/cgroup"), meminfo: Path = Path("/proc/meminfo")) -> int:
    """Return bytes that can be had without swapping: the machine's, or what the control group (v2, v1) leaves.

    Where the system does not tell (not Linux), half of the physical memory.
    """
    return max(0, min([_machine(meminfo), *_control_group(cgroup)]))


def peak_memory(pid: int) -> int:
    """Return the most bytes that a running process has ever held (Linux); 0 where the system does not tell."""
    return _field(Path(f"/proc/{pid}/status"), "VmHWM") or 0


def _machine(meminfo: Path) -> int:
    available = _field(meminfo, "MemAvailable")
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2 if available is None else available


def _control_group(cgroup: Path) -> list[int]:
    """Return the limit less what is held; files that are only cached can be had back, so they do not count."""
    for folder, limit, used, cached in (
        (cgroup, "memory.max", "memory.current", "inactive_file"),
        (cgroup / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most, held = int((folder / limit).read_text()), int((folder / used).read_text())
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # no such group, or "max": no limit
            continue
        return [most - held + int(statistics.get(cached, 0))]
    return []


def _field(path: Path, name: str) -> int | None:
    """Return the bytes of a line such as `MemAvailable:  1024 kB`."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(found[0]) * 1024 if found else None
