"""A summary in nnU-Net's form against the one that nnU-Net wrote of the same maps."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from segfw.core.labels import LabelSet
from segfw.core.scoring.metrics import case_metrics, score_case, summarize
from segfw.interop.nnunet_scores import count_cases, is_ours, summary_text, validation_scores

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"
LABELS = LabelSet({"background": 0, "a": 1, "b": 2, "c": 3})


def test_the_summary_is_theirs(tmp_path):
    theirs = json.loads((GOLDEN / "summary_labels.json").read_text())
    maps = {file.stem: np.load(file) for file in sorted(GOLDEN.glob("*.npz"))}
    cases = [case_metrics(name, one["ref"], one["pred"], LABELS, (1.0, 1.0, 1.0)) for name, one in maps.items()]
    files = {name: (tmp_path / f"p/{name}.nii.gz", tmp_path / f"r/{name}.nii.gz") for name in maps}
    text = summary_text(summarize(cases), {"a": 1, "b": 2, "c": 3}, files)
    ours = json.loads(text)
    assert set(ours) == {*theirs, "segfw"}
    assert ours["foreground_mean"] == pytest.approx(theirs["foreground_mean"], rel=1e-12)
    assert ours["mean"].keys() == theirs["mean"].keys()
    for value, row in theirs["mean"].items():
        assert ours["mean"][value] == pytest.approx(row, rel=1e-12)
    for entry, their_entry, name in zip(ours["metric_per_case"], theirs["metric_per_case"], maps, strict=True):
        assert Path(entry["prediction_file"]) == files[name][0].absolute()
        assert Path(entry["reference_file"]) == files[name][1].absolute()
        for value, row in their_entry["metrics"].items():
            assert entry["metrics"][value] == pytest.approx(row, nan_ok=True, rel=1e-12)


def test_regions_are_called_as_they_call_them_and_read_again(tmp_path):
    scored = score_case("x", np.array([1, 2, 0]), np.array([1, 0, 0]), {"whole": (1, 2), "core": (3,)})
    text = summary_text(summarize([scored]), {"whole": (1, 2), "core": 3}, {"x": (tmp_path / "p", tmp_path / "r")})
    ours = json.loads(text)
    assert list(ours["mean"]) == ["(1, 2)", "3"]
    assert math.isnan(ours["mean"]["3"]["Dice"])
    labels = LabelSet({"background": 0, "whole": (1, 2, 3), "core": (3,)}, regions_class_order=(1, 3))
    del ours["metric_per_case"][0]["metrics"]["3"]
    ours["metric_per_case"][0]["metrics"] |= {"(1, 2, 3)": {"Dice": 0.5}, "3": {"Dice": math.nan}}
    assert validation_scores([ours], labels) == {"dice": 0.5, "dice/whole": 0.5}
    assert count_cases([ours]) == 1


def test_whose_summary_it_is(tmp_path):
    ours, theirs, broken = tmp_path / "ours.json", tmp_path / "theirs.json", tmp_path / "broken.json"
    ours.write_text(summary_text(summarize([]), {}, {}))
    theirs.write_bytes((GOLDEN / "summary_labels.json").read_bytes())
    broken.write_text("{")
    assert [is_ours(path) for path in (ours, theirs, broken, tmp_path / "none.json")] == [True, False, False, False]
