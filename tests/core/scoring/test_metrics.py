"""Scores of cases and their summary, against nnU-Net's own figures and against numbers derived by hand."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest

from segfw.core.errors import ArtefactError, DataError
from segfw.core.labels import LabelSet
from segfw.core.scoring import metrics
from segfw.core.scoring.metrics import CaseMetrics, Counts, Presence, case_metrics, summarize

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


def test_summary_equals_the_reference():
    theirs = json.loads((GOLDEN / "summary_labels.json").read_text())
    files = sorted(GOLDEN.glob("*.npz"))
    assert len(theirs["metric_per_case"]) == len(files)
    summary = summarize([case_metrics(f.stem, np.load(f)["ref"], np.load(f)["pred"], LABELS) for f in files])
    for their_metric, our_metric in THEIR_NAMES.items():
        assert summary.foreground_mean[our_metric] == pytest.approx(theirs["foreground_mean"][their_metric], rel=1e-12)
        for value, name in (("1", "a"), ("2", "b"), ("3", "c")):
            assert summary.mean[name][our_metric] == pytest.approx(theirs["mean"][value][their_metric], rel=1e-12)


def test_refusals_name_case_shape_and_type():
    with pytest.raises(DataError, match=r"case 'x'.*\(2,\) and \(3,\)"):
        case_metrics("x", np.zeros(2, np.uint8), np.zeros(3, np.uint8), LABELS)
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


def measured_pair():
    """Rows of 2 mm voxels. x: label a ends one voxel early, b is invented. y: a is missed, b is in neither map."""
    reference = np.zeros((2, 1, 1, 9), np.uint8)
    prediction = reference.copy()
    reference[0, 0, 0, 2:6] = 1
    prediction[0, 0, 0, 2:5] = 1
    prediction[0, 0, 0, 8] = 2
    reference[1, 0, 0, 0] = 1
    labels = LabelSet({"background": 0, "a": 1, "b": 2})
    scored = [case_metrics(n, r, p, labels, (3, 3, 2)) for n, r, p in zip("xy", reference, prediction, strict=True)]
    return summarize(scored)


def test_the_rule_for_absent_labels():
    summary = measured_pair()
    a, b = summary.mean["a"], summary.mean["b"]
    # x: the ends of the reference are voxels 2 and 5, of the prediction 2 and 4: distances 0, 2 and 0, 2 mm
    assert (a["dice"], a["nsd"], a["lesion_f1"]) == pytest.approx(((6 / 7 + 0) / 2, (0.5 + 0) / 2, (1 + 0) / 2))
    assert (a["hd95_mm"], a["assd_mm"]) == pytest.approx((1.9, 1.0))  # of x alone; 95 % of the way from 0 to 2
    assert a["volume_error"] == pytest.approx((1 / 4 + 1) / 2)
    assert (b["dice"], b["nsd"], b["lesion_f1"]) == (0, 0, 0)
    assert all(math.isnan(b[metric]) for metric in ("hd95_mm", "assd_mm", "volume_error"))
    assert summary.presence == {"a": Presence(1, 1, 0, 0), "b": Presence(0, 0, 1, 1)}
    assert summary.foreground_mean["hd95_mm"] == pytest.approx(1.9)


def test_measures_come_back_from_json_and_stand_in_the_csv():
    summary = measured_pair()
    plain = json.loads(metrics.summary_to_json(summary))
    assert plain["presence"]["a"] == {"both": 1, "missed": 1, "invented": 0, "neither": 0}
    assert plain["cases"][1]["labels"]["a"]["hd95_mm"] is None
    back = metrics.summary_from_plain(plain)
    assert back == summary
    rows = list(csv.DictReader(io.StringIO(metrics.summary_to_csv(summary))))
    assert [rows[0][key] for key in ("nsd", "tolerance_mm", "lesion_tp")] == ["0.5", "1.0", "1"]
    assert rows[2]["hd95_mm"] == ""


def test_measures_are_averaged_only_where_every_case_has_them():
    measured = measured_pair().cases
    counted = CaseMetrics("old", measured[0].labels)
    assert "nsd" not in summarize([measured[0], counted]).foreground_mean
    assert "nsd" not in metrics.summary_to_csv(summarize([measured[0], counted]))


def test_a_garbled_measure_is_refused():
    plain = metrics.summary_to_plain(measured_pair())
    plain["cases"][0]["labels"]["a"]["nsd"] = "?"
    with pytest.raises(ArtefactError, match="lack or garble"):
        metrics.summary_from_plain(plain)
