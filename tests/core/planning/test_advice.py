"""Which planner a device is advised to take."""

import pytest

from segfw.core.planning.advice import fitting_planner, planner_advice

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


@pytest.mark.parametrize(
    ("memory", "chosen", "words"),
    [
        (None, "default", "no GPU was found; what a CPU can do is planner=default with experiment=fast"),
        (4.1, "default", "this GPU has 4.1 GB: planner=default planner.gpu_memory_gb=4 fits it"),
        (25.4, "default", "this GPU has 25.4 GB: planner=resenc_l is the one for it (chosen: default, made for 8 GB)"),
        (25.4, "resenc_l", "this GPU has 25.4 GB: planner=resenc_l, which was chosen, is the one for it"),
        (11.5, "mine", "this GPU has 11.5 GB: planner=resenc_m is the one for it (chosen: mine)"),
    ],
)
def test_the_advice_is_one_line(memory, chosen, words):
    advice = planner_advice(memory, chosen)
    assert advice.startswith(words)
    assert "\n" not in advice
