"""Intensity schemes: golden arrays to 1e-6, as float32 sums depend on numpy's build; and the worked example."""

import json
from pathlib import Path

import numpy as np
import pytest

from segfw.core.errors import DataError
from segfw.core.imaging.normalization import normalize_channel, scheme_for_channel
from segfw.core.plan import IntensityStatistics

GOLDEN = Path(__file__).parents[2] / "golden" / "normalization"
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
    image, inside = golden["image"], golden["seg"] >= 0 if case["use_mask_for_norm"] else None
    before = image.copy()
    out = normalize_channel(image, inside, SCHEMES[case["scheme"]], statistics)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, golden["out"], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(image, before)


def test_ct_clips_and_scales_by_the_datasets_numbers() -> None:
    image = np.array([200.0, 0.0], np.float32).reshape(1, 1, 2)
    out = normalize_channel(image, np.zeros((1, 1, 2), np.bool_), "ct", CT)
    # (102 - 39.7214) / 22.8439 and (0 - 39.7214) / 22.8439; the mask does not matter.
    np.testing.assert_allclose(out.ravel(), [2.7263, -1.7388], atol=1e-4)


def test_masked_zscore_leaves_the_outside_alone() -> None:
    image = np.array([7.0, 1.0, 3.0], np.float32).reshape(1, 1, 3)
    out = normalize_channel(image, np.array([False, True, True]).reshape(1, 1, 3), "zscore", CT)
    np.testing.assert_array_equal(out.ravel(), [7.0, -1.0, 1.0])  # mean 2, standard deviation 1 inside


def test_an_empty_mask_and_a_constant_image_give_finite_numbers() -> None:
    image = np.zeros((1, 2, 2), np.float32)
    assert (normalize_channel(image, np.zeros((1, 2, 2), np.bool_), "zscore", CT) == 0).all()
    assert (normalize_channel(image + 3, None, "zscore", CT) == 0).all()


def test_rgb_refuses_other_ranges() -> None:
    with pytest.raises(DataError, match=r"between 0 and 255, got 300\.0 to 300\.0"):
        normalize_channel(np.full((1, 1, 2), 300.0, np.float32), None, "rgb_to_0_1", CT)


@pytest.mark.parametrize(
    ("name", "scheme"),
    [("CT", "ct"), ("T1", "zscore"), ("noNorm", "nonorm"), ("RGB_to_0_1", "rgb_to_0_1"), ("zscore", "zscore")],
)
def test_channel_names_choose_the_scheme(name: str, scheme: str) -> None:
    assert scheme_for_channel(name) == scheme
