"""The fingerprint: nnU-Net's own draws and statistics, bit for bit, on worked examples."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.errors import DataError
from segfw.core.planning.fingerprint import (
    BLOCK,
    CaseFingerprint,
    fingerprint_case,
    pool_fingerprints,
    samples_per_case,
)
from segfw.core.types import Volume

SPACING = (5.0, 0.800000011920929, 0.800000011920929)


def counting_case() -> tuple[Volume, Volume]:
    """Channel 0 is 100 z + 10 y + x, channel 1 that + 1000; label 1 where y >= 2."""
    z, y, x = np.indices((3, 4, 5))
    first = (100 * z + 10 * y + x).astype(np.float32)
    return Volume(np.stack([first, first + 1000]), SPACING), Volume((y >= 2).astype(np.int16)[None], SPACING)


def case(name: str, *rows: list[float], relative_size: float = 1.0) -> CaseFingerprint:
    samples = np.array(rows, np.float32)
    return CaseFingerprint(name, SPACING, (1, 2, 3), relative_size, samples.shape[1] > 0, samples)


@pytest.mark.parametrize(("cases", "samples"), [(131, 763358), (260, 384615), (484, 206611), (1, 100_000_000)])
def test_samples_are_shared_over_cases(cases: int, samples: int) -> None:
    assert samples_per_case(cases) == samples


def test_no_case_has_no_samples() -> None:
    with pytest.raises(DataError, match="at least one case"):
        samples_per_case(0)


def test_draws_are_the_references() -> None:
    found = fingerprint_case("a", *counting_case(), num_samples=8)
    assert found.samples.tolist() == [
        [130, 134, 31, 221, 122, 220, 224, 230],
        [1130, 1132, 1223, 1034, 1231, 1121, 1122, 1233],
    ]
    assert found.samples.dtype == np.float32
    assert (found.name, found.spacing, found.shape_after_crop) == ("a", SPACING, (3, 4, 5))


def test_a_crop_counts_in_shape_and_share() -> None:
    image, label = np.zeros((1, 4, 4, 4), np.float32), np.zeros((1, 4, 4, 4), np.int16)
    image[0, 1:3, :2, 0] = 7
    label[0, 0, 0, 0] = 2  # outside the box: cut away, so there is no foreground
    found = fingerprint_case("a", Volume(image, SPACING), Volume(label, SPACING), 5)
    assert found.shape_after_crop == (2, 2, 1)
    assert found.relative_size == 4 / 64
    assert not found.has_foreground
    assert found.samples.shape == (1, 0)


def test_statistics_of_known_numbers() -> None:
    pooled = pool_fingerprints([case("a", [1, 2, 3], relative_size=0.5), case("b", [4, 10], relative_size=1.0)])
    (channel,) = pooled.intensities
    # 0.5 % of the way through four gaps is 0.02 of the first, 99.5 % is 0.98 of the last: 1.02 and 4 + 0.98 * 6.
    assert (channel.percentile_00_5, channel.median, channel.percentile_99_5) == pytest.approx((1.02, 3.0, 9.88))
    assert (channel.min, channel.max, channel.mean) == (1, 10, 4)
    assert channel.std == float(np.float32(np.sqrt(10)))  # deviations 9 + 4 + 1 + 0 + 36 over 5
    assert pooled.median_relative_size_after_cropping == 0.75
    assert pooled.cases == ("a", "b")
    assert pooled.spacings == (SPACING, SPACING)
    assert pooled.shapes_after_crop == ((1, 2, 3), (1, 2, 3))


def test_sums_are_single_precision_until_a_case_is_empty() -> None:
    values = np.random.default_rng(0).normal(1000, 1, (1, 4000)).astype(np.float32)
    full = [replace(case("a", [0]), samples=values[:, :2000]), replace(case("c", [0]), samples=values[:, 2000:])]
    single = pool_fingerprints(full).intensities[0]
    assert (single.mean, single.std) == (float(values.mean()), float(values.std()))
    empty = case("b", [])
    double = pool_fingerprints([full[0], empty, full[1]])
    as_double = values.astype(np.float64)
    assert (double.intensities[0].mean, double.intensities[0].std) == (as_double.mean(), as_double.std())
    assert single.mean != double.intensities[0].mean
    assert double.cases == ("a", "b", "c")


def test_pooled_samples_leave_out_the_columns_of_empty_cases() -> None:
    cases = [case("a", [1, 2], [5, 6]), case("b", [], []), case("c", [3, 4], [7, 8])]
    bare = [one.without_samples() for one in cases]
    shared = np.array([[1, 2, -99, -99, 3, 4], [5, 6, 99, 99, 7, 8]], np.float32)
    assert pool_fingerprints(bare, lambda channel: shared[channel].copy()) == pool_fingerprints(cases)
    dense = [bare[0], bare[2]]
    kept = shared[:, [0, 1, 4, 5]]
    assert pool_fingerprints(dense, lambda channel: kept[channel].copy()) == pool_fingerprints([cases[0], cases[2]])
    assert type(pool_fingerprints(dense, lambda channel: kept[channel].copy()).intensities[0].mean) is float


@given(st.integers(1, 3000), st.integers(0, 2**32 - 1), st.sampled_from([0.1, 1000.0]))
def test_statistics_are_numpys_bit_for_bit(count: int, seed: int, scale: float) -> None:
    row = (np.random.default_rng(seed).normal(3, 1, count) * scale).astype(np.float32)
    (found,) = pool_fingerprints([replace(case("a", [0]), samples=row[None])]).intensities
    low, median, high = np.percentile(row, [0.5, 50, 99.5])
    assert (found.mean, found.std, found.min, found.max) == (row.mean(), row.std(), row.min(), row.max())
    assert (found.percentile_00_5, found.median, found.percentile_99_5) == (low, median, high)


@pytest.mark.parametrize("count", [BLOCK + 1, 3 * BLOCK - 5, 1_000_003])
def test_draws_and_sums_by_blocks_are_those_of_all_at_once(count: int) -> None:
    image, label = counting_case()
    voxels = image.array[0][label.array[0] > 0]
    (row,) = fingerprint_case("a", replace(image, array=image.array[:1]), label, count).samples
    np.testing.assert_array_equal(row, voxels[np.random.RandomState(1234).randint(0, len(voxels), count)])
    (found,) = pool_fingerprints([replace(case("a", [0]), samples=row[None])]).intensities
    assert (found.mean, found.std) == (row.mean(), row.std())


def test_one_row_is_held_at_a_time() -> None:
    row = np.random.default_rng(0).normal(size=400_000).astype(np.float32)
    tracemalloc.start()
    try:
        pool_fingerprints([case("a", [0], [0]).without_samples()], lambda channel: row.copy())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.1 * row.nbytes


def test_a_dataset_without_foreground_is_refused() -> None:
    with pytest.raises(DataError, match="none of the 2 cases has a foreground voxel"):
        pool_fingerprints([case("a", []), case("b", [])])


def test_cases_agree_in_channels() -> None:
    with pytest.raises(DataError, match=r"'a' has 1 channels, .* \['b'\]"):
        pool_fingerprints([case("a", [1]), case("b", [1], [2])])


def test_errors_name_the_case() -> None:
    image, label = counting_case()
    with pytest.raises(DataError, match=r"case 'x': image and label map differ in shape: \(3, 4, 5\) and \(3, 4, 4\)"):
        fingerprint_case("x", image, Volume(label.array[..., :4], SPACING), 1)
    label_with_nan = label.array.astype(np.float32)
    label_with_nan[0, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match="case 'x': the label map has 1 voxels that are NaN"):
        fingerprint_case("x", image, Volume(label_with_nan, SPACING), 1)
