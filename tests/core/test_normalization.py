"""Intensity schemes: golden arrays to 1e-6 relative, and the worked example."""

import json
from pathlib import Path

import numpy as np
import pytest

from segfw.core.errors import DataError
from segfw.core.normalization import normalize, scheme_for_channel
from segfw.core.plan import IntensityStatistics

GOLDEN = Path(__file__).parents[1] / "golden" / "normalization"
CASES = json.loads((GOLDEN / "index.json").read_text())
SCHEMES = {
    "ZScoreNormalization": "zscore",
    "CTNormalization": "ct",
    "NoNormalization": "nonorm",
    "RescaleTo01Normalization": "rescale_to_0_1",
    "RGBTo01Normalization": "rgb_to_0_1",
}
CT = IntensityStatistics(
    mean=39.72140121459961, median=40.0, std=22.84392547607422, min=-44.0, max=135.0,
    percentile_99_5=102.0, percentile_00_5=-17.0,
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[f"{case['file']}-{case['scheme']}" for case in CASES])
def test_schemes_equal_the_reference(case: dict) -> None:
    golden = np.load(GOLDEN / case["file"])
    statistics = IntensityStatistics(**case["intensityproperties"])
    image, label = golden["image"][None], golden["seg"][None]
    before = image.copy()
    out = normalize(image, label, (SCHEMES[case["scheme"]],), (case["use_mask_for_norm"],), (statistics,))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out[0], golden["out"], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(image, before)


def test_ct_clips_and_scales_by_the_datasets_numbers() -> None:
    image = np.array([200.0, 0.0], np.float32).reshape(1, 1, 1, 2)
    out = normalize(image, np.full((1, 1, 1, 2), -1), ("ct",), (True,), (CT,))
    # (102 - 39.7214) / 22.8439 and (0 - 39.7214) / 22.8439; the mask does not matter.
    np.testing.assert_allclose(out.ravel(), [2.7263, -1.7388], atol=1e-4)


def test_masked_zscore_leaves_the_outside_alone() -> None:
    image = np.array([7.0, 1.0, 3.0], np.float32).reshape(1, 1, 1, 3)
    label = np.array([-1, 0, 2]).reshape(1, 1, 1, 3)
    out = normalize(image, label, ("zscore",), (True,), (CT,))
    np.testing.assert_array_equal(out.ravel(), [7.0, -1.0, 1.0])  # mean 2, standard deviation 1 inside


def test_an_empty_mask_and_a_constant_image_give_finite_numbers() -> None:
    image = np.zeros((1, 1, 2, 2), np.float32)
    assert (normalize(image, np.full((1, 1, 2, 2), -1), ("zscore",), (True,), (CT,)) == 0).all()
    assert (normalize(image + 3, np.zeros((1, 1, 2, 2)), ("zscore",), (False,), (CT,)) == 0).all()


def test_rgb_refuses_other_ranges() -> None:
    image = np.full((1, 1, 1, 2), 300.0, np.float32)
    with pytest.raises(DataError, match=r"between 0 and 255, got 300\.0 to 300\.0"):
        normalize(image, np.zeros((1, 1, 1, 2)), ("rgb_to_0_1",), (False,), (CT,))


def test_one_scheme_per_channel() -> None:
    with pytest.raises(DataError, match="2 channels, but the plan has 1 normalization schemes"):
        normalize(np.zeros((2, 1, 1, 1), np.float32), np.zeros((1, 1, 1, 1)), ("ct",), (False,), (CT,))


@pytest.mark.parametrize(
    ("name", "scheme"),
    [("CT", "ct"), ("T1", "zscore"), ("noNorm", "nonorm"), ("RGB_to_0_1", "rgb_to_0_1"), ("zscore", "zscore")],
)
def test_channel_names_choose_the_scheme(name: str, scheme: str) -> None:
    assert scheme_for_channel(name) == scheme
