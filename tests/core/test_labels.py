"""Labels, regions and the ignore label, against the examples of nnU-Net's dataset format."""

import numpy as np
import pytest

from segfw.core.errors import DataError
from segfw.core.labels import LabelSet, region_order

BRATS = LabelSet({"background": 0, "WT": (1, 2, 3), "TC": (2, 3), "ET": 3}, regions_class_order=(1, 2, 3))


def test_regions_have_one_head_each():
    assert BRATS.has_regions
    assert BRATS.num_heads == 3
    assert BRATS.foreground == (("WT", (1, 2, 3)), ("TC", (2, 3)), ("ET", (3,)))
    assert BRATS.all_values == (0, 1, 2, 3)


def test_ignore_is_neither_a_head_nor_a_value():
    labels = LabelSet({"background": 0, "a": 1, "b": 2, "ignore": 3})
    assert (labels.num_heads, labels.all_values, labels.ignore_value) == (3, (0, 1, 2), 3)
    assert labels.allowed_values == (0, 1, 2, 3)
    assert labels.location_keys == ((1,), (2,), (-1, 0, 1, 2))


def test_a_list_of_one_value_is_no_region():
    assert not LabelSet({"background": 0, "a": (1,)}).has_regions


def test_labels_are_ordered_by_value_whatever_the_file_says():
    labels = LabelSet({"background": 0, "second": 2, "first": 1})
    assert [name for name, _ in labels.foreground] == ["first", "second"]


@pytest.mark.parametrize(
    ("values", "order", "message"),
    [
        ({"a": 1}, None, "must hold 'background'"),
        ({"background": 1}, None, "must hold 'background'"),
        ({"background": 0, "a": 2}, None, r"consecutive.*\[0, 2\].*'task\.remap=\{2: 1\}'"),
        (
            {"background": 0, "a": 1, "b": 3, "ignore": 2},
            None,
            r"largest value, 4 .* got 2; .*task\.remap=\{2: 3, 3: 2\}",
        ),
        ({"background": 0, "WT": (1, 2), "ET": 2}, None, r"got None; nested as they are, it should be \[1, 2\]"),
        ({"background": 0, "a": 1, "ignore": 3}, None, "largest value, 2 here, got 3"),
        ({"background": 0, "a": 1, "ignore": (2,)}, None, "must be one integer"),
        ({"background": 0, "a": 1, "b": 1}, None, "'a' and 'b' have the same value 1"),
        (
            {"background": 0, "a": 2, "b": 2},
            None,
            "^the labels 'a' and 'b' have the same value 2; keep one",
        ),
        ({"background": 0, "a": 1, "b": (1,)}, None, "'a' and 'b' have the same value"),
        ({"background": 0, "a": 1, "nothing": 0}, None, "'background' and 'nothing' have the same value 0"),
        ({"background": 0, "all": (1, 2, 2)}, (1,), r"each of its values once, got \{'all': \(1, 2, 2\)\}"),
        ({"background": 0, "WT": (1, 2), "ET": 2}, (1,), r"2 regions \['WT', 'ET'\], got \(1,\)"),
    ],
)
def test_contradictions_are_refused(values, order, message):
    with pytest.raises(DataError, match=message):
        LabelSet(values, order)


def test_labels_decode_to_the_first_maximum():
    scores = np.array([[1.0, 0.2, 0.5], [1.0, 0.7, 0.1], [0.0, 0.7, 0.6]])
    decoded = LabelSet({"background": 0, "a": 1, "b": 2}).decode(scores)
    assert decoded.tolist() == [0, 1, 2]
    assert decoded.dtype == np.uint8


def test_later_regions_paint_over_earlier_ones():
    probabilities = np.array([[0.9, 0.3, 0.5], [0.7, 0.8, 0.5], [0.2, 0.1, 0.5]])
    assert BRATS.decode(probabilities).tolist() == [2, 2, 0]


def test_mask_of_a_region_holds_its_members():
    label_map = np.array([0, 1, 2, 3])
    assert BRATS.mask(label_map, (2, 3)).tolist() == [False, False, True, True]
    assert BRATS.mask(label_map, (1,)).tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("regions", "order"),
    [
        ([(1, 2, 3), (2, 3), (3,)], (1, 2, 3)),
        ([(1, 2, 4), (1, 4), (4,)], (2, 1, 4)),
        ([(1, 2), (2,), (3, 4), (4,)], (1, 2, 3, 4)),
        ([(1, 2, 3), (2,), (3,)], (1, 2, 3)),
        ([(1, 2), (2, 3)], None),  # neither is nested: each has a value of its own and one shared
        ([(1, 2, 3), (2, 3)], (1, 2)),  # the smallest of several values beyond the inner
        ([(1, 2, 3), (3,)], (1, 3)),
        ([(1, 2), (3, 4)], (1, 3)),
        ([(1, 2), (1,), (2,)], None),  # nothing is left for the outer one
        ([(3,), (1, 3)], None),  # the outer one would be painted over the inner
        ([(1, 2), (1, 2)], None),
    ],
)
def test_painted_values_follow_from_nesting(regions, order):
    assert region_order(regions) == order


@pytest.mark.parametrize("regions", [[(1, 2, 3), (2, 3), (3,)], [(1, 2, 4), (1, 4), (4,)], [(1, 2, 3), (2,), (3,)]])
def test_painting_in_the_derived_order_gives_every_value_back(regions):
    order = region_order(regions)
    for value in regions[0]:
        assert [new for region, new in zip(regions, order, strict=True) if value in region][-1] == value


def test_two_regions_may_have_the_same_values():
    labels = LabelSet({"background": 0, "whole": (1, 2), "core": 2, "tumor": (2,)}, (1, 2, 2))
    assert labels.num_heads == 3


def test_foreground_values_are_those_of_a_segmentation_even_with_regions():
    regions = {"background": 0, "whole": (1, 2, 3), "core": (2, 3), "enhancing": 3, "ignore": 4}
    assert LabelSet(regions, (1, 2, 3)).foreground_values == (1, 2, 3)
    assert LabelSet({"background": 0, "b": 2, "a": 1}).foreground_values == (1, 2)
