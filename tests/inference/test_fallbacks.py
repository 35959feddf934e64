"""Less and less memory, step by step: which ways there are, when the next is taken, and that each is told once."""

import logging

import pytest
import torch

from segfw.core.errors import JobError
from segfw.inference.fallbacks import Attempts, Way, is_out_of_memory, window_ways

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")


def test_ways_go_from_many_windows_on_the_device_to_one_on_the_cpu():
    expected = (Way(GPU, 6), Way(GPU, 3), Way(GPU, 1), Way(GPU, 1, sums_on_host=True), Way(CPU, 1))
    assert window_ways(GPU, 6) == expected
    assert window_ways(CPU, 4) == (Way(CPU, 4), Way(CPU, 2), Way(CPU, 1))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("MPS backend out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        MemoryError("Unable to allocate 8 EiB"),
    ],
)
def test_a_lack_of_memory_is_recognized(error):
    assert is_out_of_memory(error)


def test_real_allocations_beyond_the_machine_are_recognized():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("out of memory"), KeyError("x")])
def test_other_errors_are_not(error):
    assert not is_out_of_memory(error)


def needs_at_most(limit, tried):
    def attempt(size):
        tried.append(size)
        if size > limit:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size} GiB. GPU 0 has ...")
        return f"done with {size}"

    return attempt


def test_later_work_begins_with_what_worked_and_each_step_is_told_once(caplog):
    attempts, tried = Attempts("windows", (8, 4, 2, 1)), []
    with caplog.at_level(logging.INFO):
        assert attempts.run(needs_at_most(2, tried)) == "done with 2"
        assert attempts.run(needs_at_most(2, tried)) == "done with 2"
    assert tried == [8, 4, 2, 2]
    assert attempts.current == 2
    assert caplog.messages == [
        "windows: out of memory (CUDA out of memory); from now on 4",
        "windows: out of memory (CUDA out of memory); from now on 2",
    ]


def test_the_last_way_is_told_when_it_fails():
    with pytest.raises(JobError, match=r"windows: out of memory even with 1 \(CUDA out of memory\)"):
        Attempts("windows", (2, 1)).run(needs_at_most(0, []))


def test_other_errors_pass():
    def attempt(size):
        raise RuntimeError("shapes differ")

    attempts = Attempts("windows", (2, 1))
    with pytest.raises(RuntimeError, match="shapes differ"):
        attempts.run(attempt)
    assert attempts.current == 2


def test_a_line_is_said_once(caplog):
    attempts = Attempts("windows", (1,))
    with caplog.at_level(logging.INFO):
        for line in ("a", "b", "a"):
            attempts.say(line)
    assert caplog.messages == ["windows: a", "windows: b"]


def test_ways_are_named_for_the_log():
    assert str(Way(GPU, 1, sums_on_host=True)) == "1 window at once on cuda, sums on the host"
    assert str(Way(CPU, 4)) == "4 windows at once on cpu"
