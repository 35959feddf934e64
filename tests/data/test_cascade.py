"""The previous segmentation beside the target, and its random changes: by hand, and against the definition."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.settings.training import AugmentationSettings
from segfw.data import cascade
from segfw.data.cascade import (
    CascadeStore,
    ChangedPreviousStage,
    StackedMaps,
    apply_operators,
    ball_width,
    change_previous,
    close_mask,
    dilate,
    erode,
    open_mask,
    remove_components,
    within_reach,
)
from segfw.data.case_files import commit_store, save_case
from segfw.data.cutting import paste
from segfw.data.drawing import PatchSpec
from segfw.data.next_stage import PreviousStage, commit_segmentations, save_segmentation
from segfw.data.sampling import PatchDataset
from segfw.data.store import Store
from tests.data.conftest import LABELS, make_case

ALWAYS = AugmentationSettings(
    previous_operator_probability=1.0, previous_operator_label_probability=1.0, previous_radius_range=(1.0, 1.0),
    previous_removal_probability=1.0, previous_removal_label_probability=1.0,
)  # fmt: skip
NEVER = AugmentationSettings(previous_operator_probability=0.0, previous_removal_probability=0.0)


def mask(*rows: str) -> np.ndarray:
    return np.array([[character == "#" for character in row] for row in rows])


def point(size: int, ndim: int) -> np.ndarray:
    array = np.zeros((size,) * ndim, bool)
    array[(size // 2,) * ndim] = True
    return array


@pytest.mark.parametrize(("radius", "width"), [(1, 3), (1.49, 3), (1.5, 4), (2.2, 5), (7.99, 16), (8, 17)])
def test_width_of_a_ball(radius: float, width: int) -> None:
    assert ball_width(radius) == width


@pytest.mark.parametrize(
    ("width", "ndim", "voxels"),
    [
        (3, 3, 7),  # the center and its six neighbors
        (4, 3, 8),  # corners of the inner cube: 3 / 4 <= 9 / 4, but 11 / 4 for the next ones
        (5, 3, 33),  # 27 but for none of the inner cube, and the six poles
        (17, 3, 2109),  # whole numbers with z^2 + y^2 + x^2 <= 64
        (3, 2, 5),
        (5, 2, 13),
        (17, 2, 197),  # y^2 + x^2 <= 64
    ],
)
def test_size_of_a_ball(width: int, ndim: int, voxels: int) -> None:
    assert dilate(point(25, ndim), width).sum() == voxels


def test_operators_by_hand() -> None:
    drawn = mask("........", ".####...", ".####.#.", ".####...", "........")
    expected = mask(".####...", "#######.", "########", "#######.", ".####...")
    np.testing.assert_array_equal(dilate(drawn, 3), expected)
    np.testing.assert_array_equal(erode(drawn, 3), mask("........", "........", "..##....", "........", "........"))
    np.testing.assert_array_equal(open_mask(drawn, 3), mask("........", "..##....", ".####...", "..##....", "........"))
    closed = mask("........", ".####...", ".######.", ".####...", "........")
    np.testing.assert_array_equal(close_mask(np.pad(drawn, 1), 3), np.pad(closed, 1))


def test_an_even_ball_is_centered_low() -> None:
    np.testing.assert_array_equal(dilate(mask("....", "..#.", "...."), 4), mask(".##.", ".##.", "...."))
    np.testing.assert_array_equal(erode(mask(".##.", ".##.", "...."), 4), mask(".#..", "....", "...."))


def test_what_is_outside_does_not_erode() -> None:
    assert erode(np.ones((4, 5, 6), bool), 7).all()
    np.testing.assert_array_equal(erode(mask("##..", "##..", "...."), 3), mask("#...", "....", "...."))


def defined_dilation(array: np.ndarray, width: int) -> np.ndarray:
    """Join the array shifted by every point whose distance from the ball's center is at most its radius."""
    center = (width - 1) / 2
    low = (width - 1) // 2
    padded = np.pad(array, (low, width - 1 - low))
    out = np.zeros_like(array)
    for offset in np.ndindex((width,) * array.ndim):
        if sum((k - center) ** 2 for k in offset) <= center**2:
            out |= padded[tuple(slice(k, k + n) for k, n in zip(offset, array.shape, strict=True))]
    return out


@given(st.integers(0, 2**32 - 1), st.integers(3, 9), st.sampled_from([(11, 13), (6, 9, 17), (1, 12, 7)]))
def test_operators_are_what_they_are_defined_to_be(seed: int, width: int, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(seed).random(shape) < 0.04
    np.testing.assert_array_equal(dilate(array, width), defined_dilation(array, width))
    np.testing.assert_array_equal(erode(~array, width), ~defined_dilation(array, width))


@given(st.integers(0, 2**32 - 1), st.integers(3, 8))
def test_opening_and_closing_enclose_the_mask_and_stay(seed: int, width: int) -> None:
    array = dilate(np.random.default_rng(seed).random((9, 14, 12)) < 0.02, 4)
    opened, closed = open_mask(array, width), close_mask(array, width)
    assert (opened <= array).all()
    assert (array <= closed).all()
    inner = (slice(width, -width),) * 3  # beyond the border an opening takes nothing and a closing everything
    if array[inner].size:
        np.testing.assert_array_equal(open_mask(opened, width)[inner], opened[inner])
    for operator in cascade.OPERATORS:
        np.testing.assert_array_equal(within_reach(array, width, operator), operator(array, width))


def test_a_growing_label_takes_from_others_and_a_shrinking_one_leaves_background(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = np.array([[-1, 0, 1, 0, 2], [0, 1, 1, 1, 2], [0, 0, 1, 0, 2]], np.int16)
    monkeypatch.setattr(cascade, "OPERATORS", (dilate,))
    label = drawn.copy()
    apply_operators(label, (1,), ALWAYS, np.random.default_rng(0))
    np.testing.assert_array_equal(label, [[-1, 1, 1, 1, 2], [1, 1, 1, 1, 1], [0, 1, 1, 1, 2]])
    monkeypatch.setattr(cascade, "OPERATORS", (erode,))
    label = drawn.copy()
    apply_operators(label, (1,), ALWAYS, np.random.default_rng(0))
    np.testing.assert_array_equal(label, [[-1, 0, 0, 0, 2], [0, 0, 1, 0, 2], [0, 0, 0, 0, 2]])


def test_one_small_component_of_a_label_goes() -> None:
    # 60 voxels: a component may have fewer than 9. The two of label 1 have 8 (joined over a corner) and 9.
    drawn = np.zeros((4, 15), np.int16)
    drawn[:2, :2], drawn[2:, 2:4] = 1, 1
    drawn[:3, 6:9] = 1
    drawn[3, 12] = 2
    seen = set()
    for seed in range(8):
        label = drawn.copy()
        remove_components(label, (1, 2), ALWAYS, np.random.default_rng(seed))
        assert (label[:3, 6:9] == 1).all()
        assert (label == 1).sum() == 9
        assert not (label == 2).any()
        seen.add(label.tobytes())
    assert len(seen) == 1
    drawn[:3, 6:9] = 0
    drawn[0, 7] = drawn[2, 9] = 1
    left = []
    for seed in range(40):
        label = drawn.copy()
        remove_components(label, (1,), ALWAYS, np.random.default_rng(seed))
        left.append((int(label[0, 0]), int(label[0, 7]), int(label[2, 9])))
    assert set(left) == {(0, 1, 1), (1, 0, 1), (1, 1, 0)}


def test_how_often_a_sample_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = np.zeros((12, 12), np.int16)
    drawn[4:6, 4:6], drawn[8:10, 8:10] = 1, 2
    defaults = AugmentationSettings()
    monkeypatch.setattr(cascade, "OPERATORS", (dilate,))

    def share(settings: AugmentationSettings) -> float:
        results = [change_previous(drawn, (1, 2), settings, np.random.default_rng(seed)) for seed in range(2000)]
        return float(np.mean([(out != drawn).any() for out in results]))

    # At least one of two labels, each with 0.5: 0.75 of the samples that are chosen. Four standard errors: 0.041.
    operators = dataclasses.replace(defaults, previous_removal_probability=0.0)
    assert share(operators) == pytest.approx(0.4 * 0.75, abs=0.041)
    removal = dataclasses.replace(defaults, previous_operator_probability=0.0)
    assert share(removal) == pytest.approx(0.2 * 0.75, abs=0.032)
    assert share(NEVER) == 0


@given(st.integers(0, 2**32 - 1))
def test_a_change_leaves_known_labels_and_its_input(seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = rng.integers(-1, 4, (5, 8, 9)).astype(np.int16)
    before = drawn.copy()
    once, twice = (change_previous(drawn, (1, 2, 3), ALWAYS, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(once, twice)
    np.testing.assert_array_equal(drawn, before)
    assert set(np.unique(once)) <= {-1, 0, 1, 2, 3}
    assert once.dtype == np.int16


def test_maps_are_stacked_where_they_are_cut() -> None:
    parts = [np.arange(24, dtype=np.int8).reshape(1, 2, 3, 4), np.full((1, 2, 3, 4), 200, np.uint8)]
    stacked = StackedMaps(parts)
    whole = np.concatenate([part.astype(np.int16) for part in parts])
    assert (stacked.shape, stacked.ndim, stacked.dtype) == ((2, 2, 3, 4), 4, np.int16)
    for box in (np.s_[:, 1], np.s_[..., 2:], np.s_[1], np.s_[1:, 0], np.s_[0, :, 1]):
        np.testing.assert_array_equal(stacked[box], whole[box])
    np.testing.assert_array_equal(np.asarray(stacked), whole)
    cuts = [np.full((2, 2, 3, 2), -1, np.int16) for _ in range(2)]
    for cut, source in zip(cuts, (stacked, whole), strict=True):
        paste(cut, source, (1, 0, 2))  # type: ignore[arg-type]
    np.testing.assert_array_equal(*cuts)
    assert (cuts[0][:, 1] == -1).all()
    np.testing.assert_array_equal(cuts[0][:, 0], whole[:, 1, :, 2:])


@pytest.fixture
def fed(tmp_path: Path) -> CascadeStore:
    """Two cases whose previous segmentation is their label map."""
    store, handed_on = tmp_path / "store", tmp_path / "next_stage"
    shapes = {"a": (8, 10, 12), "b": (12, 16, 14)}
    for name, shape in shapes.items():
        case = make_case(shape)
        assert case.label is not None
        case = dataclasses.replace(case, label=np.maximum(case.label, 0))
        save_case(store, name, case)
        save_segmentation(handed_on, name, case.label[0].astype(np.uint8))
    commit_store(store, {})
    commit_segmentations(handed_on, shapes, {})
    return CascadeStore(Store.open(store), PreviousStage.open({handed_on: {}}, shapes))


@pytest.mark.parametrize("patch", [(6, 6, 6), (6, 6)])
def test_the_previous_segmentation_is_cut_and_turned_like_the_target(fed: CascadeStore, patch: tuple[int, ...]) -> None:
    spec = PatchSpec(patch, 2, spatial=AugmentationSettings(rotation_probability=0.8, scaling_probability=0.8))
    patches = PatchDataset(fed, ("a", "b"), spec, LABELS, seed=3, purpose="training")
    found = [patches[0, index] for index in range(30)]
    for sample in found:
        assert sample["label"].shape == (2, *patch)
        assert sample["image"].shape == (1, *patch)
        np.testing.assert_array_equal(sample["label"][0], sample["label"][1])
    assert {-1, 0, 1, 2} == {int(v) for sample in found for v in sample["label"].unique()}


def row_of(batch: dict) -> dict:
    return {"label": batch["label"][1]}


def test_changes_touch_the_previous_segmentation_alone(fed: CascadeStore) -> None:
    patches = PatchDataset(fed, ("a", "b"), PatchSpec((8, 8, 8), 2), LABELS, seed=3, purpose="training")
    same = ChangedPreviousStage(patches, NEVER, LABELS.foreground_values)
    changed = ChangedPreviousStage(patches, ALWAYS, LABELS.foreground_values)
    others = 0
    for index in range(6):
        before, after, again = patches[1, index], changed[1, index], row_of(changed.__getitems__([(1, 0), (1, index)]))
        assert before["label"].equal(same[1, index]["label"])
        assert after["label"].equal(again["label"])
        assert after["image"].equal(before["image"])
        assert after["label"][0].equal(before["label"][0])
        others += not after["label"][1].equal(before["label"][1])
    assert others >= 5
