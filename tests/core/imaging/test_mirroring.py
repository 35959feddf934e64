import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.imaging.mirroring import Order, Places, consistent_orders, find_places, most_shared, side_pairs
from segfw.core.labels import LabelSet


def places(*distances: tuple[float, float, float], deviation: float = 1.0) -> Places:
    """Two labels; the second lies `distances` from the first, one row per case."""
    centroids = np.array([[(0.0, 0.0, 0.0), row] for row in distances])
    return Places(("a", "b"), centroids, np.full(centroids.shape, deviation))


def test_a_fixed_order_is_found_with_its_direction() -> None:
    found = consistent_orders(places(*[(2.0, 0.0, -3.0)] * 5))
    assert found == [Order(2, "b", "a", 5, 5, 3.0), Order(0, "a", "b", 5, 5, 2.0)]
    assert str(found[0]) == "'b' lies before 'a' along axis 2 in 5 of 5 cases, by 3.0 times their extent"


@pytest.mark.parametrize(("same", "cases", "fixed"), [(19, 20, True), (18, 20, False), (5, 5, True), (4, 4, False)])
def test_a_twentieth_of_the_cases_may_disagree_and_five_are_needed(same: int, cases: int, fixed: bool) -> None:
    rows = [(1.0, 0.0, 0.0)] * same + [(-1.0, 0.0, 0.0)] * (cases - same)
    assert bool(consistent_orders(places(*rows))) is fixed


@pytest.mark.parametrize(("distance", "fixed"), [(0.5, True), (0.49, False)])
def test_labels_that_nearly_coincide_have_no_order(distance: float, fixed: bool) -> None:
    assert bool(consistent_orders(places(*[(distance, 0.0, 0.0)] * 9))) is fixed


def test_cases_that_lack_a_label_do_not_count() -> None:
    lacking = places(*[(1.0, 0.0, 0.0)] * 9)
    lacking.centroids[:5, 1] = math.nan
    lacking.deviations[:5, 1] = math.nan
    assert consistent_orders(lacking) == []


def test_too_few_cases_hold_two_labels_if_no_pair_is_in_five_of_them() -> None:
    nowhere = np.full((6, 3, 3), math.nan)
    centroids = nowhere.copy()
    centroids[:4, :2] = centroids[4:, 1:] = (
        0.0  # all three labels lie in some cases, but no two of them in more than four
    )
    assert most_shared(Places(("a", "b", "c"), centroids, nowhere)) == 4
    assert most_shared(places(*[(1.0, 0.0, 0.0)] * 5)) == 5
    assert most_shared(Places(("a",), nowhere[:, :1], nowhere[:, :1])) is None


def test_a_label_one_voxel_thin_counts_as_half_a_voxel_wide() -> None:
    assert consistent_orders(places(*[(0.25, 0.0, 0.0)] * 5, deviation=0.0))[0].separation == 0.5


@given(st.integers(0, 2**32 - 1), st.integers(0, 2))
def test_mirrored_data_give_mirrored_orders(seed: int, axis: int) -> None:
    rng = np.random.default_rng(seed)
    centroids = rng.normal(0, 1, (6, 3, 3)) + rng.normal(0, 3, (1, 3, 3))
    deviations = rng.uniform(0.5, 1, (6, 3, 3))
    mirrored = centroids.copy()
    mirrored[..., axis] *= -1
    names = ("a", "b", "c")
    before = consistent_orders(Places(names, centroids, deviations))
    after = consistent_orders(Places(names, mirrored, deviations))
    swapped = [Order(o.axis, o.second, o.first, o.same, o.cases, o.separation) if o.axis == axis else o for o in before]
    assert sorted(map(str, after)) == sorted(map(str, swapped))


def test_places_by_hand() -> None:
    labels = LabelSet({"background": 0, "a": 1, "b": 2})
    # In 2 x 3 x 4 voxels, flat 0 is (0, 0, 0), 5 is (0, 1, 1) and 14 is (1, 0, 2).
    found = find_places(labels, [({(1,): np.array([0, 5]), (2,): np.array([14])}, (2, 3, 4)), ({}, (2, 3, 4))])
    assert found.names == ("a", "b")
    np.testing.assert_array_equal(found.centroids[0], [[0, 0.5, 0.5], [1, 0, 2]])
    np.testing.assert_array_equal(found.deviations[0], [[0, 0.5, 0.5], [0, 0, 0]])
    assert np.isnan(found.centroids[1]).all()


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("kidney_left", "kidney_right"),
        ("Left Kidney", "Right Kidney"),
        ("kidneyLeft", "kidneyRight"),
        ("leftkidney", "rightkidney"),
        ("L-hippocampus", "R-hippocampus"),
        ("lh_cortex", "rh_cortex"),
        ("eye_l", "eye_r"),
        ("lung_lower_lobe_left", "lung_lower_lobe_right"),
        ("linke Niere", "rechte Niere"),
        ("ren sinister", "ren dexter"),
        ("rein gauche", "rein droit"),
        ("left", "right"),
        ("L", "R"),
        ("rib_left_1", "rib_right_1"),
    ],
)
def test_words_that_mean_sides(left: str, right: str) -> None:
    assert side_pairs(["liver", right, left]) == [(left, right)]


@pytest.mark.parametrize(
    "names",
    [
        ["kidney_left", "lung_right"],
        ["rib_left_1", "rib_right_2"],
        ["L1", "L2", "R1x"],
        ["Anterior", "Posterior"],
        ["bright", "brleft"],
        ["RV", "LV", "MYO"],
        ["kidney_left"],
        [],
    ],
)
def test_words_that_are_no_pair(names: list[str]) -> None:
    assert side_pairs(names) == []


def test_every_pair_is_found_once() -> None:
    names = ["a_left", "b_left", "a_right", "b_right", "a_left_2"]
    assert side_pairs(names) == [("a_left", "a_right"), ("b_left", "b_right")]
