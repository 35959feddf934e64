"""Counts and summaries against nnU-Net's own figures and against numbers derived by hand."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segfw.core import metrics
from segfw.core.errors import ArtefactError, DataError
from segfw.core.labels import LabelSet
from segfw.core.metrics import CaseMetrics, Counts, case_metrics, confusion, count_overlaps, summarize

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"
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


def test_summary_equals_the_reference():
    theirs = json.loads((GOLDEN / "summary_labels.json").read_text())
    files = sorted(GOLDEN.glob("*.npz"))
    assert len(theirs["metric_per_case"]) == len(files)
    summary = summarize([case_metrics(f.stem, np.load(f)["ref"], np.load(f)["pred"], LABELS) for f in files])
    for their_metric, our_metric in THEIR_NAMES.items():
        assert summary.foreground_mean[our_metric] == pytest.approx(theirs["foreground_mean"][their_metric], rel=1e-12)
        for value, name in (("1", "a"), ("2", "b"), ("3", "c")):
            assert summary.mean[name][our_metric] == pytest.approx(theirs["mean"][value][their_metric], rel=1e-12)


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
    monkeypatch.setattr(metrics, "_BLOCK", 97)
    assert confusion(maps["ref"], maps["pred"], LABELS) == whole


def test_refusals_name_case_shape_and_type():
    with pytest.raises(DataError, match=r"case 'x'.*\(2,\) and \(3,\)"):
        case_metrics("x", np.zeros(2, np.uint8), np.zeros(3, np.uint8), LABELS)
    with pytest.raises(DataError, match="prediction must hold integers, got float32"):
        confusion(np.zeros(2, np.uint8), np.zeros(2, np.float32), LABELS)
    with pytest.raises(DataError, match=r"'y' was scored for \('b',\)"):
        summarize([CaseMetrics("x", {"a": Counts(1, 0, 0, 0)}), CaseMetrics("y", {"b": Counts(1, 0, 0, 0)})])


def summary_of_two():
    """Label a: Dice 1 and 0.5. Label b: absent, then 2/3. Label c: absent everywhere."""
    absent = Counts(0, 0, 0, 9)
    return summarize(
        [
            CaseMetrics("x", {"a": Counts(4, 0, 0, 5), "b": absent, "c": absent}),
            CaseMetrics("y", {"a": Counts(1, 1, 1, 6), "b": Counts(1, 1, 0, 7), "c": absent}),
        ]
    )


def test_means_skip_what_is_undefined():
    summary = summary_of_two()
    assert summary.mean["a"]["dice"] == 0.75
    assert summary.mean["b"]["dice"] == pytest.approx(2 / 3)
    assert summary.mean["b"]["n_pred"] == 1.0
    assert math.isnan(summary.mean["c"]["dice"])
    assert summary.foreground_mean["dice"] == pytest.approx((0.75 + 2 / 3) / 2)
    assert math.isnan(summarize([]).foreground_mean["dice"])


def test_json_has_null_for_nan_and_comes_back():
    summary = summary_of_two()
    plain = json.loads(metrics.summary_to_json(summary), parse_constant=lambda word: pytest.fail(f"bare {word}"))
    assert plain["mean"]["c"]["dice"] is None
    assert plain["cases"][1]["labels"]["a"] == {
        "dice": 0.5, "iou": pytest.approx(1 / 3), "tp": 1, "fp": 1, "fn": 1, "tn": 6, "n_pred": 2, "n_ref": 2
    }  # fmt: skip
    back = metrics.summary_from_plain(plain)
    assert back.cases == summary.cases
    assert metrics.summary_to_json(back) == metrics.summary_to_json(summary)


@pytest.mark.parametrize(
    "plain", [None, {}, {"cases": [{"case": "x"}]}, {"cases": [{"case": "x", "labels": {"a": {"tp": "?"}}}]}]
)
def test_garbled_metrics_are_refused(plain):
    with pytest.raises(ArtefactError, match="lack or garble"):
        metrics.summary_from_plain(plain)


def test_csv_has_a_row_per_case_and_label():
    rows = list(csv.DictReader(io.StringIO(metrics.summary_to_csv(summary_of_two()))))
    assert len(rows) == 6
    assert rows[1] == {"case": "x", "label": "b", "dice": "", "iou": "", "tp": "0", "fp": "0", "fn": "0", "tn": "9",
                       "n_pred": "0", "n_ref": "0"}  # fmt: skip
    assert rows[3]["dice"] == "0.5"
