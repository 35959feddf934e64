"""Bands keep within their bytes; a device's way, all heads at once, gives the CPU's values."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segfw.inference.restoring_planes import LogitMap, Place, best_heads, blended_planes, row_bands, row_bytes
from tests.inference.test_restoring import make_configuration, make_plan, make_record, random_logits

CPU = torch.device("cpu")


def make_map(source, target, heads=3):
    logits = torch.from_numpy(random_logits(source, heads))
    return LogitMap(logits, make_record(target), make_configuration())


@settings(deadline=None, max_examples=40)
@given(st.tuples(*[st.integers(1, 7)] * 3), st.tuples(*[st.integers(1, 9)] * 3), st.sampled_from([2, None]))
def test_heads_at_once_give_the_same(source, target, at_once):
    entry = make_map(source, target)
    plan, rows = make_plan(entry.configuration), slice(target[1] // 3, target[1])
    together = blended_planes(entry, plan, rows, Place(heads_at_once=at_once))
    for blend, expected in zip(together, blended_planes(entry, plan, rows, Place()), strict=True):
        torch.testing.assert_close(torch.lerp(*blend), torch.lerp(*expected), rtol=0, atol=0)


def test_bands_cover_the_rows_once_and_fit():
    entry = make_map((4, 4, 4), (5, 100, 10))
    each = row_bytes([entry], 2, Place())
    assert each == 4 * 3 * 2 * 10
    bands = row_bands([entry], each, Place(band_bytes=20 * each))
    assert [band.stop - band.start for band in bands] == [20] * 5
    assert [row for band in bands for row in range(band.start, band.stop)] == list(range(100))
    assert len(row_bands([entry], each, Place(band_bytes=1))) == 13  # 8 rows at least


def test_all_heads_at_once_count_their_scratch():
    """Source rows of 4 x 4 against 2 output rows: twice three planes 4 wide, one 10 wide, and two that are blended."""
    entry = make_map((4, 4, 4), (5, 2, 10))
    assert row_bytes([entry], 2, Place(heads_at_once=None)) == 4 * 3 * (2 * 10 + 10 + 3 * 2 * 4)


def test_the_first_of_equal_heads_wins():
    entry = make_map((2, 2, 2), (3, 3, 3), 4)
    entry.logits[2] = entry.logits[1]
    plan = make_plan(entry.configuration)
    for heads, blend in zip(
        best_heads(blended_planes(entry, plan, slice(0, 3), Place())),
        blended_planes(entry, plan, slice(0, 3), Place()),
        strict=True,
    ):
        np.testing.assert_array_equal(heads, torch.lerp(*blend).argmax(0))


def test_places_are_named_for_the_log():
    assert str(Place(CPU, 48_000_000)) == "bands of 48 MB on cpu"


@pytest.mark.parametrize("heads", [256, 257])
def test_head_numbers_fit(heads):
    entry = make_map((1, 2, 2), (1, 2, 2), heads)
    entry.logits[heads - 1] = 100
    (best,) = best_heads(blended_planes(entry, make_plan(entry.configuration), slice(0, 2), Place()))
    assert (best == heads - 1).all()
