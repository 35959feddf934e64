"""Cases, places and foreground shares of patches."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.errors import UsageError
from segfw.core.labels import LabelSet
from segfw.core.settings.training import AugmentationSettings
from segfw.data.drawing import (
    PatchSpec,
    Targets,
    check_weights,
    count_numbers,
    draw_patches,
    find_targets,
    is_forced,
    start_bounds,
    unknown_names,
)
from tests.data.conftest import LABELS

IGNORING = LabelSet({"background": 0, "front": 1, "back": 2, "ignore": 3})


def draw(count, shape, spec, target=None, seed=0):
    numbers = np.random.default_rng(seed).random((count, count_numbers(spec)))
    return draw_patches(["a"] * count, np.tile(shape, (count, 1)), numbers, spec, lambda row: target)


def one(voxel):
    return Targets((np.array([voxel]),), np.ones(1))


@pytest.mark.parametrize(
    ("batch_size", "forced"),
    [(2, 1), (3, 1), (4, 1), (5, 2), (6, 2), (7, 2), (8, 3), (9, 3), (10, 3), (12, 4), (24, 8), (49, 16), (366, 121)],
)
def test_forced_share_equals_the_reference(batch_size: int, forced: int) -> None:
    flags = [is_forced(position, batch_size, 0.33) for position in range(batch_size)]
    assert flags == [False] * (batch_size - forced) + [True] * forced


@pytest.mark.parametrize(
    ("n", "f", "p", "lowest", "highest"),
    [
        (10, 4, 4, 0, 6),  # nothing to pad: every place inside
        (10, 4, 7, -2, 5),  # need 3: floor(-1.5) = -2; 10 + 1 + 1 - 7
        (3, 4, 4, -1, 0),  # smaller than the patch: need 1
        (5, 4, 9, -3, -1),  # need 5 already covers it: floor(-2.5); 5 + 2 + 1 - 9
        (2, 4, 9, -4, -3),  # need 7: floor(-3.5); 2 + 3 + 1 - 9
    ],
)
def test_bounds_by_hand(n: int, f: int, p: int, lowest: int, highest: int) -> None:
    low, high = start_bounds(np.array([[n]]), (f,), (p,))
    assert (low.tolist(), high.tolist()) == ([[lowest]], [[highest]])


@given(st.integers(1, 40), st.integers(1, 20), st.integers(0, 20))
def test_bounds_are_never_empty(n: int, f: int, extra: int) -> None:
    low, high = start_bounds(np.array([[n]]), (f,), (f + extra,))
    assert low <= high


def test_random_starts_fill_the_bounds() -> None:
    starts = draw(300, (6, 4, 3), PatchSpec((4, 4, 4), 2)).starts
    assert [sorted(set(axis)) for axis in starts.T.tolist()] == [[0, 1, 2], [0], [-1, 0]]
    counts = Counter(starts[:, 0].tolist())
    assert all(abs(count - 100) < 4 * np.sqrt(300 * 2 / 9) for count in counts.values())


def test_start_around_a_voxel() -> None:
    shape = (20, 20, 20)
    voxel = one(np.ravel_multi_index((1, 10, 19), shape))
    # 1 - 3 is below the first place 0; the last axis may stick out: 19 - 3 + 6 > 20.
    assert draw(1, shape, PatchSpec((6, 6, 6), 2), voxel).starts.tolist() == [[0, 7, 16]]
    # A slice: the first axis is the voxel's own.
    assert draw(1, shape, PatchSpec((6, 6), 2), voxel).starts.tolist() == [[1, 7, 16]]


def test_keys_are_equally_likely() -> None:
    locations = {(1,): np.zeros(1, np.int32), (2,): np.full(5000, 999, np.int32), (3,): np.zeros(0, np.int32)}
    labels = LabelSet({"background": 0, "one": 1, "two": 2, "three": 3})
    target = find_targets(labels, locations, True, {})
    starts = draw(2000, (10, 10, 10), PatchSpec((2, 2, 2), 2), target).starts
    share = Counter(map(tuple, starts.tolist()))[(0, 0, 0)] / 2000
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(2000)


def test_keys_are_drawn_by_their_weights() -> None:
    locations = {(1,): np.array([7]), (2,): np.array([8]), (3,): np.array([9])}
    labels = LabelSet({"background": 0, "one": 1, "two": 2, "three": 3})
    target = find_targets(labels, locations, True, {"one": 3.0, "two": 0.0})
    grid = (np.arange(1000) + 0.5) / 1000  # one and three: 3 and 1 of 4
    assert Counter(target.pick(key, 0.5) for key in grid) == {7: 750, 9: 250}


def test_voxels_of_a_key_are_equally_likely() -> None:
    target = find_targets(LABELS, {(1,): np.arange(10, 14)}, True, {})
    assert [target.pick(0.99, voxel) for voxel in (0.0, 0.26, 0.5, 0.999999)] == [10, 11, 12, 13]


def test_targets() -> None:
    everything = (-1, 0, 1, 2)
    full = {(1,): np.arange(3), (2,): np.arange(0), everything: np.arange(9)}
    bare = {(1,): np.arange(0), (2,): np.arange(0), everything: np.arange(9)}

    def sizes(labels, locations, forced, weights=None):
        found = find_targets(labels, locations, forced, weights or {})
        return None if found is None else [len(voxels) for voxels in found.voxels]

    assert sizes(LABELS, full, forced=False) is None
    assert sizes(LABELS, full, forced=True) == [3]
    assert sizes(LABELS, full, forced=True, weights={"front": 0.0}) is None
    assert sizes(IGNORING, full, forced=False) == [9]
    assert sizes(IGNORING, full, forced=True) == [3]
    assert sizes(IGNORING, bare, forced=True) == [9]


def test_a_shift_moves_the_start() -> None:
    still = AugmentationSettings(rotation_probability=0, scaling_probability=0)
    moving = AugmentationSettings(rotation_probability=0, scaling_probability=0, shift_probability=1, shift_range=0.25)
    before, after = (draw(50, (20, 20, 20), PatchSpec((8, 8), 2, spatial=s)).starts for s in (still, moving))
    assert (before[:, 0] == after[:, 0]).all()
    assert sorted(set((after - before)[:, 1:].ravel().tolist())) == [-2, -1, 0, 1, 2]


def test_plain_and_turned_are_all_samples() -> None:
    draws = draw(100, (20, 20, 20), PatchSpec((8, 8, 8), 2, spatial=AugmentationSettings()))
    assert sorted(itertools.chain(draws.plain, draws.turned)) == list(range(100))
    assert 15 < len(draws.turned) < 60
    assert draw(3, (9, 9, 9), PatchSpec((8, 8, 8), 2)).plain.tolist() == [0, 1, 2]


def test_weights_that_leave_nothing_to_draw() -> None:
    check_weights("sampling.class_weights", {"front": 0.0}, ["front", "back"])
    with pytest.raises(UsageError, match=r"sampling.class_weights gives every one of .'front', 'back'. the weight 0"):
        check_weights("sampling.class_weights", {"front": 0.0, "back": 0.0}, ["front", "back"])


def test_unknown_names() -> None:
    assert unknown_names({"front": 1.0, "frnt": 2.0}, ["front", "back"]) == ["frnt"]
