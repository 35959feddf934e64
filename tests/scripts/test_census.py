"""What is counted of a process, and what counts as growing."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.benchmarks.census import Census, append, growing, least_counts, memory_per_sample, read, take_census

STILL = Census(memory=10**8, handles=5, threads=2, children=0, shared=0, temporary=0)


def test_memory_grows_by_the_slope_after_the_warm_up():
    samples = [replace(STILL, memory=9 * 10**8)] * 10 + [replace(STILL, memory=3000 * n) for n in range(40)]
    assert memory_per_sample(samples) == pytest.approx(3000)
    assert growing(samples, 3001) == []
    assert growing(samples, 2000) == ["memory grows by 3.0 kB each time, 2 kB are allowed"]


def test_a_count_may_rise_for_a_moment_but_not_for_good():
    busy = [replace(STILL, handles=5 + n % 3) for n in range(50)]
    assert growing(busy, 1) == []
    leaking = [replace(STILL, threads=2 + n // 25) for n in range(50)]
    assert least_counts(leaking, "threads") == [2, 2, 3, 3, 3]
    assert growing(leaking, 1) == ["threads: 2, 2, 3, 3, 3 in 5 stretches"]


def test_a_process_is_counted_with_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = take_census(os.getpid())
    held = "import sys; block = bytearray(2**24); files = [open(sys.argv[0]) for _ in range(7)]"
    with (
        (tmp_path / "file").open("w"),
        subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.argv = [{__file__!r}]; {held}; print(flush=True); input()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as child,
    ):
        child.stdout.readline()
        now = take_census(os.getpid())
        child.communicate(b"\n")
    assert (now.children - before.children, now.temporary - before.temporary) == (1, 1)
    assert now.handles - before.handles >= 1 + 2 + 7  # the file, our ends of two pipes, the child's files
    assert now.memory - before.memory > 2**24
    after = take_census(os.getpid())
    assert (after.handles, after.threads, after.children) == (before.handles, before.threads, before.children)


def test_samples_are_read_as_they_were_written(tmp_path: Path):
    append(tmp_path / "samples", STILL)
    append(tmp_path / "samples", replace(STILL, handles=9))
    assert read(tmp_path / "samples") == [STILL, replace(STILL, handles=9)]
