"""Free memory: of the machine, of a container of either kind, and of one process."""

import os

import pytest

from segfw.core.support.host_memory import available_memory, peak_memory

GB = 2**30


@pytest.fixture
def meminfo(tmp_path):
    path = tmp_path / "meminfo"
    path.write_text(f"MemTotal: {32 * 2**20} kB\nMemFree: 1 kB\nMemAvailable:   {8 * 2**20} kB\n")
    return path


def test_the_machine_says_what_it_has(tmp_path, meminfo):
    assert available_memory(tmp_path, meminfo) == 8 * GB


@pytest.mark.parametrize(
    ("folder", "names", "cached"),
    [
        (".", ("memory.max", "memory.current"), "inactive_file"),
        ("memory", ("memory.limit_in_bytes", "memory.usage_in_bytes"), "total_inactive_file"),
    ],
)
def test_a_container_has_less(tmp_path, meminfo, folder, names, cached):
    group = tmp_path / folder
    group.mkdir(exist_ok=True)
    for name, value in zip(names, (4 * GB, 3 * GB), strict=True):
        (group / name).write_text(f"{value}\n")
    (group / "memory.stat").write_text(f"anon 5\n{cached} {2 * GB}\n")
    assert available_memory(tmp_path, meminfo) == 3 * GB  # 4 allowed, 3 held, 2 of them cached files


def test_a_group_without_limit_does_not_count(tmp_path, meminfo):
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("5\n")
    (tmp_path / "memory.stat").write_text("anon 5\n")
    assert available_memory(tmp_path, meminfo) == 8 * GB


def test_elsewhere_half_of_the_memory_is_assumed(tmp_path):
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert available_memory(tmp_path, tmp_path / "absent") == physical // 2


def test_a_process_has_a_peak_and_a_dead_one_none():
    assert 2**20 < peak_memory(os.getpid()) < 64 * GB
    assert peak_memory(2**30) == 0
