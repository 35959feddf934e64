"""The benchmark of training: what it plans, and what its outcome is made of."""

import pytest

from scripts.benchmarks.common import Turns, Usage


@pytest.fixture
def training(benchmark):
    return benchmark("training")


def test_training_tells_the_worse_input_and_both_times_of_the_rest(training):
    works = training.list_works(training.QUICK, "cpu")
    assert [work.name for work in works] == ["input, 2d", "input, 3d_fullres", "step, small", "iterations, small"]
    measured = {
        work: Turns((Usage(ours, ours / 10),), (Usage(10.0, theirs),))
        for work, ours, theirs in zip(works, (1.0, 2.0, 3.0, 4.0), (1.0, 1.0, 2.0, 4.0), strict=True)
    }
    assert training.summarize(measured, True) == {
        "input_cpu_seconds_per_batch": 0.2,
        "step_seconds": 0.3,
        "seconds_per_iteration": 0.4,
        "step_cpu_seconds": 0.15,
        "cpu_seconds_per_iteration": 0.1,
    }
    assert training.summarize(measured, False) == {
        "input_cpu_seconds_per_batch_ours": 0.2,
        "step_seconds_ours": 3.0,
        "seconds_per_iteration_ours": 4.0,
        "step_cpu_seconds_ours": 0.3,
        "cpu_seconds_per_iteration_ours": 0.4,
    }


def test_training_plans_what_is_published(training):
    plans = training.make_plans()
    sizes = {
        (name, key): (plans[name].configurations[key].batch_size, plans[name].configurations[key].patch_size)
        for name, key in (
            ("planned", "2d"),
            ("planned", "3d_fullres"),
            ("small", "3d_fullres"),
            ("large", "3d_fullres"),
        )
    }
    assert list(sizes.values()) == [(366, (56, 40)), (9, (40, 56, 40)), (2, (40, 56, 40)), (2, (128, 128, 128))]
