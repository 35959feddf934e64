"""Counts of voxels against nnU-Net's own figures and against numbers derived by hand."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segfw.core.errors import DataError
from segfw.core.labels import LabelSet
from segfw.core.scoring import counts as counting
from segfw.core.scoring.counts import Counts, confusion, count_overlaps

GOLDEN = Path(__file__).parents[2] / "golden" / "metrics"
LABELS = LabelSet({"background": 0, "a": 1, "b": 2, "c": 3})
THEIR_NAMES = {
    "Dice": "dice",
    "IoU": "iou",
    "TP": "tp",
    "FP": "fp",
    "FN": "fn",
    "TN": "tn",
    "n_pred": "n_pred",
    "n_ref": "n_ref",
}
KINDS = {
    "labels": ({"1": (1,), "2": (2,), "3": (3,)}, None),
    "regions": ({"(1, 2, 3)": (1, 2, 3), "(2, 3)": (2, 3), "(3,)": (3,)}, None),
    "labels_ignore9": ({"1": (1,), "2": (2,), "3": (3,)}, 9),
}


@pytest.mark.parametrize("entry", json.loads((GOLDEN / "metrics.json").read_text()), ids=lambda entry: entry["file"])
@pytest.mark.parametrize("kind", KINDS)
def test_counts_equal_the_reference(entry, kind):
    maps = np.load(GOLDEN / entry["file"])
    counts = count_overlaps(maps["ref"], maps["pred"], *KINDS[kind])
    assert counts.keys() == entry["metrics"][kind].keys()
    for name, theirs in entry["metrics"][kind].items():
        for their_metric, our_metric in THEIR_NAMES.items():
            assert getattr(counts[name], our_metric) == pytest.approx(
                theirs[their_metric], abs=0, rel=1e-15, nan_ok=True
            )


def test_counts_by_hand():
    labels = LabelSet({"background": 0, "whole": (1, 2), "core": (2,), "ignore": 3}, regions_class_order=(1, 2))
    reference = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    prediction = np.array([0, 1, 1, 2, 2, 0, 2, 1])
    counts = confusion(reference, prediction, labels)
    assert counts == {"whole": Counts(tp=3, fp=1, fn=1, tn=1), "core": Counts(tp=1, fp=1, fn=1, tn=3)}
    assert counts["whole"].dice == 6 / 8
    assert counts["core"].iou == 1 / 3


def test_neither_map_has_the_label():
    counts = confusion(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), LABELS)["a"]
    assert (counts.tn, counts.n_pred, counts.n_ref) == (4, 0, 0)
    assert math.isnan(counts.dice)
    assert math.isnan(counts.iou)


@pytest.mark.parametrize("dtype", [np.int16, np.int64])
def test_values_outside_the_labels_are_background(dtype):
    reference, prediction = np.array([-1, 1, 200, 1], dtype), np.array([1, 1, 1, -5], dtype)
    assert confusion(reference, prediction, LABELS)["a"] == Counts(tp=1, fp=2, fn=1, tn=0)


def test_largest_value_of_the_type():
    reference, prediction = np.array([255, 255, 0], np.uint8), np.array([255, 254, 255], np.uint8)
    assert count_overlaps(reference, prediction, {"last": (255,)})["last"] == Counts(tp=1, fp=1, fn=1, tn=0)


@settings(deadline=None, max_examples=50)
@given(arrays(np.uint8, (3, 4, 5), elements=st.integers(0, 4)), arrays(np.uint8, (3, 4, 5), elements=st.integers(0, 4)))
def test_histogram_equals_masks(reference, prediction):
    keys = {"one": (1,), "most": (1, 3)}
    counts = count_overlaps(reference, prediction, keys, ignore_value=4)
    for name, key in keys.items():
        valid = reference != 4
        r, p = np.isin(reference, key) & valid, np.isin(prediction, key) & valid
        assert counts[name] == Counts((r & p).sum(), (p & ~r).sum(), (r & ~p).sum(), (valid & ~r & ~p).sum())


def test_blocks_add_up(monkeypatch):
    maps = np.load(GOLDEN / "case00.npz")
    whole = confusion(maps["ref"], maps["pred"], LABELS)
    monkeypatch.setattr(counting, "_BLOCK", 97)
    assert confusion(maps["ref"], maps["pred"], LABELS) == whole


def test_refusals_name_shape_and_type():
    with pytest.raises(DataError, match=r"\(2,\) and \(3,\)"):
        confusion(np.zeros(2, np.uint8), np.zeros(3, np.uint8), LABELS)
    with pytest.raises(DataError, match="prediction must hold integers, got float32"):
        confusion(np.zeros(2, np.uint8), np.zeros(2, np.float32), LABELS)


def test_a_value_named_twice_counts_once():
    reference, prediction = np.array([0, 1, 2, 2]), np.array([2, 1, 2, 0])
    assert count_overlaps(reference, prediction, {"all": (1, 2, 2)}) == {"all": Counts(tp=2, fp=1, fn=1, tn=0)}
