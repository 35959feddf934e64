"""Steps against nnU-Net's own results and against small maps worked out by hand."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segfw.core.errors import DataError, UsageError
from segfw.core.labels import LabelSet
from segfw.core.scoring.postprocessing import Step, apply_steps, check_steps, name_of, secondary_volumes, step_in_words
from segfw.core.support.conversion import from_plain, to_plain

GOLDEN = Path(__file__).parents[2] / "golden" / "postprocessing"
UNIT = (1.0, 1.0, 1.0)
LABELS = LabelSet({"background": 0, "a": 1, "b": 2, "c": 3})
NESTED = LabelSet({"background": 0, "whole": (1, 2, 3), "core": (2, 3), "inner": 3}, (1, 2, 3))
VALUES = {"label1": (1,), "label2": (2,), "list_1_2": (1, 2), "tuple_1_2": (1, 2), "list_all": (1, 2, 3)}
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6))
MAPS = SHAPES.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 3)))
KEYS = st.sampled_from([(1,), (2,), (3,), (1, 2), (2, 3), (1, 2, 3)])
STEPS = st.one_of(
    KEYS.map(lambda key: Step("keep_largest", key)),
    KEYS.map(lambda key: Step("fill_holes", key, fill=key[-1])),
    st.builds(lambda key, size: Step("remove_small", key, minimum_mm3=size), KEYS, st.floats(0.5, 8)),
)


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.npz")), ids=lambda file: file.stem)
@pytest.mark.parametrize("kind", VALUES)
def test_the_largest_component_is_nnunets(file, kind):
    maps = np.load(file)
    ours = apply_steps(maps["input"], (Step("keep_largest", VALUES[kind]),), UNIT)
    assert ours.dtype == maps[kind].dtype
    assert (ours == maps[kind]).all()


@given(MAPS, STEPS)
def test_laws_of_a_step(label_map, step):
    given_map = label_map.copy()
    once = apply_steps(label_map, (step,), UNIT)
    assert (label_map == given_map).all()
    assert (apply_steps(once, (step,), UNIT) == once).all()
    changed = once != label_map
    if step.operation == "fill_holes":
        assert (label_map[changed] == 0).all()
        assert (once[changed] == step.fill).all()
    else:
        assert np.isin(label_map[changed], step.values).all()
        assert (once[changed] == 0).all()


@given(MAPS, st.lists(STEPS, max_size=5))
def test_steps_together_are_steps_one_by_one(label_map, steps):
    one_by_one = label_map
    for step in steps:
        one_by_one = apply_steps(one_by_one, (step,), UNIT)
    assert (apply_steps(label_map, steps, UNIT) == one_by_one).all()


def test_ties_are_kept_and_corners_touch():
    label_map = np.array([[[1, 0, 0, 2, 2], [0, 1, 0, 0, 0], [0, 0, 0, 1, 1], [1, 0, 0, 0, 0]]])
    kept = apply_steps(label_map, (Step("keep_largest", (1,)),), UNIT)
    assert kept.tolist() == [[[1, 0, 0, 2, 2], [0, 1, 0, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 0, 0]]]
    joined = apply_steps(label_map, (Step("keep_largest", (1, 2)),), UNIT)
    assert joined.tolist() == kept.tolist()
    assert kept.dtype == label_map.dtype


def test_a_cavity_of_one_slice_is_filled_by_the_label_that_alone_encloses_it():
    label_map = np.array([[[1, 1, 1, 1, 1], [1, 0, 1, 0, 2], [1, 1, 1, 1, 1], [0, 1, 0, 1, 0]]])
    filled = apply_steps(label_map, (Step("fill_holes", (1,), fill=1),), UNIT)
    assert filled.tolist() == [[[1, 1, 1, 1, 1], [1, 1, 1, 0, 2], [1, 1, 1, 1, 1], [0, 1, 0, 1, 0]]]
    as_region = apply_steps(label_map, (Step("fill_holes", (1, 2), fill=2),), UNIT)
    assert as_region.tolist() == [[[1, 1, 1, 1, 1], [1, 2, 1, 2, 2], [1, 1, 1, 1, 1], [0, 1, 0, 1, 0]]]


def test_a_cavity_open_along_the_slices_is_none():
    label_map = np.ones((3, 3, 3), np.uint8)
    label_map[:2, 1, 1] = 0
    assert (apply_steps(label_map, (Step("fill_holes", (1,), fill=1),), UNIT) == label_map).all()
    label_map[0, 1, 1] = 1
    assert apply_steps(label_map, (Step("fill_holes", (1,), fill=1),), UNIT).all()


def test_small_is_a_volume_in_mm3():
    label_map = np.zeros((1, 3, 6), np.uint8)
    label_map[0, 0, :3] = 1  # 3 voxels of 1.5 mm³: 4.5
    label_map[0, 2, :2] = 1  # 3.0
    label_map[0, 2, 4] = 2
    spacing = (3.0, 0.5, 1.0)
    for minimum, left in ((3.0, 5), (3.01, 3), (4.6, 0)):
        cleared = apply_steps(label_map, (Step("remove_small", (1,), minimum_mm3=minimum),), spacing)
        assert (cleared == 1).sum() == left
        assert cleared[0, 2, 4] == 2


def test_secondary_volumes_leave_out_one_largest_component():
    label_map = np.array([[[1, 0, 1, 1, 0, 1], [0, 0, 0, 0, 0, 0], [2, 2, 3, 0, 3, 3]]])
    volumes = secondary_volumes(label_map, LABELS, (2.0, 1.0, 1.0))
    assert {name: found.tolist() for name, found in volumes.items()} == {"a": [2.0, 2.0], "b": [], "c": [2.0]}
    regions = secondary_volumes(label_map, NESTED, UNIT)
    assert {name: found.tolist() for name, found in regions.items()} == {
        "whole": [1.0, 1.0, 2.0, 2.0],
        "core": [2.0],
        "inner": [1.0],
    }


def test_what_is_no_segmentation_is_refused():
    with pytest.raises(DataError, match=r"integers \(Z, Y, X\), got float64 of shape \(2, 2, 2\)"):
        apply_steps(np.zeros((2, 2, 2)), (), UNIT)
    with pytest.raises(DataError, match=r"uint8 of shape \(2, 2\)"):
        apply_steps(np.zeros((2, 2), np.uint8), (), UNIT)
    ring = np.ones((1, 3, 3), np.uint8)
    ring[0, 1, 1] = 0
    with pytest.raises(DataError, match="type uint8 cannot hold the label 300"):
        apply_steps(ring, (Step("fill_holes", (1, 300), fill=300),), UNIT)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"operation": "keep_largest", "values": []}, r"above 0, each once, got \[\]"),
        ({"operation": "keep_largest", "values": [0, 1]}, r"above 0, each once, got \[0, 1\]"),
        ({"operation": "keep_largest", "values": [1, 1]}, r"above 0, each once, got \[1, 1\]"),
        ({"operation": "erode", "values": [1]}, "operation must be one of .*got 'erode'"),
        ({"operation": "keep_largest", "values": [1], "fill": 1}, "got 1 for keep_largest"),
        ({"operation": "fill_holes", "values": [1]}, "got None for fill_holes"),
        ({"operation": "fill_holes", "values": [1], "fill": 2}, r"one of the values \[1\], got 2"),
        ({"operation": "remove_small", "values": [1]}, "got None for remove_small"),
        ({"operation": "fill_holes", "values": [1], "fill": 1, "minimum_mm3": 2}, "got 2.0 for fill_holes"),
        ({"operation": "remove_small", "values": [1], "minimum_mm3": 0}, "above 0, got 0.0"),
        ({"operation": "remove_small", "values": [1], "minimum_mm3": float("inf")}, "above 0, got inf"),
    ],
)
def test_a_step_must_make_sense(entries, message):
    with pytest.raises(UsageError, match=message):
        from_plain(Step, entries, "postprocessing[0]")


@given(STEPS)
def test_steps_survive_yaml(step):
    assert from_plain(Step, to_plain(step)) == step


def test_steps_must_be_on_labels_that_exist():
    check_steps((Step("keep_largest", (1, 3)),), LABELS)
    with pytest.raises(
        UsageError, match=r"postprocessing\[1\]\.values: \[4\] are no label values; there are \[1, 2, 3\]"
    ):
        check_steps((Step("keep_largest", (1,)), Step("keep_largest", (1, 4))), LABELS)


def test_in_words():
    assert step_in_words(Step("keep_largest", (1, 2, 3)), LABELS) == (
        "of the foreground only the largest connected component is kept"
    )
    assert (
        step_in_words(Step("fill_holes", (2, 3), fill=2), NESTED)
        == "cavities enclosed by core alone are filled with it"
    )
    assert step_in_words(Step("remove_small", (1, 2), minimum_mm3=12.5), LABELS) == (
        "connected components of a and b below 12.5 mm³ are removed"
    )
    assert name_of((1, 2, 3), NESTED) == "whole"
    assert name_of((1, 3), NESTED) == "1 and inner"
