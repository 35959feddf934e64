"""What is advised for a device: its planner, and less work for a CPU."""

from dataclasses import replace

import pytest

from segfw.core.planning.advice import Asked, fitting_planner, training_advice

# nnU-Net's presets: M for 9 to 11 GB, L for 24 GB, XL for 40 GB; in 10^9 bytes as PyTorch reports cards of that name
MEMORIES = [
    (None, "default"),
    (4.1, "default"),
    (8.3, "default"),
    (8.6, "default"),  # a card of 8 GiB, to the last byte
    (10.4, "resenc_m"),
    (11.5, "resenc_m"),
    (16.8, "resenc_m"),
    (23.7, "resenc_l"),  # L4, A10
    (25.4, "resenc_l"),
    (34.1, "resenc_l"),
    (42.3, "resenc_xl"),
    (85.0, "resenc_xl"),
]


@pytest.mark.parametrize(("memory", "planner"), MEMORIES)
def test_the_planner_follows_the_memory(memory, planner):
    assert fitting_planner(memory) == planner


ALL = Asked("default", None, {"2d": 33, "3d_fullres": 9}, folds=5, iterations=250_000, seconds=None)
LITTLE = Asked("default", None, {"3d_fullres": 2}, folds=1, iterations=600, seconds=None)


@pytest.mark.parametrize(
    ("memory", "chosen", "words"),
    [
        (4.1, "default", "this GPU has 4.1 GB: planner=default planner.gpu_memory_gb=4 fits it"),
        (25.4, "default", "this GPU has 25.4 GB: planner=resenc_l is made for it (chosen: default, made for 8 GB)"),
        (11.5, "mine", "this GPU has 11.5 GB: planner=resenc_m is made for it (chosen: mine)"),
    ],
)
def test_the_planner_for_a_gpu_is_named_in_one_line(memory, chosen, words):
    assert training_advice(memory, replace(ALL, planner=chosen)) == words


def test_a_gpu_that_has_its_planner_needs_no_advice():
    assert training_advice(25.4, replace(ALL, planner="resenc_l")) is None
    assert training_advice(4.1, replace(ALL, gpu_memory_gb=4.0)) is None
    assert training_advice(4.1, replace(ALL, gpu_memory_gb=8.0)) is not None


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (ALL, "experiment=fast configurations=[3d_fullres] folds=0 plan.batch_size=2"),
        (replace(LITTLE, planner="resenc_m"), "planner=default"),
        (replace(LITTLE, iterations=5001), "experiment=fast"),
        (replace(LITTLE, folds=2), "folds=0"),
        (replace(LITTLE, batch_sizes={"2d": 33, "3d_fullres": 2}), "configurations=[3d_fullres]"),
        (replace(LITTLE, batch_sizes={"3d_fullres": 3}), "plan.batch_size=2"),
    ],
)
def test_on_a_cpu_what_is_not_asked_for_yet_is_advised(asked, words):
    advice = training_advice(None, asked)
    assert advice == f"no GPU was found; what makes a training short enough for a CPU: {words}"


def test_a_cpu_does_an_hour_without_advice():
    assert training_advice(None, replace(ALL, seconds=3600.0)) is None
    assert training_advice(None, replace(ALL, seconds=3601.0)) is not None


@pytest.mark.parametrize("iterations", [600, 5000, None])
def test_who_asks_for_little_on_a_cpu_gets_no_advice(iterations):
    assert training_advice(None, replace(LITTLE, iterations=iterations)) is None
    assert training_advice(None, replace(LITTLE, iterations=iterations, batch_sizes={"2d": 33})) is None
