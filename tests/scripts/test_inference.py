"""The benchmark of inference: its cases and logits, how segmentations are compared, and what its outcome is made of."""

import json

import numpy as np
import pytest

from scripts.benchmarks.common import Turns, Usage
from segfw.interop.nnunet import read_plans


@pytest.fixture
def inference(benchmark):
    return benchmark("inference")


def test_inference_takes_the_cases_that_the_model_was_validated_on(inference, tmp_path):
    names = [f"case_{number:02d}" for number in range(50)]
    folder = tmp_path / "fold_0" / "validation"
    folder.mkdir(parents=True)

    def know(chosen):
        cases = [{"reference_file": f"/somewhere/{name}.nii.gz"} for name in chosen]
        (folder / "summary.json").write_text(json.dumps({"metric_per_case": cases}))
        return inference.choose_cases(tmp_path, names)

    assert know(names[1::2]) == names[1:40:2]
    assert know(names[:19]) == names[:20]


def test_inference_tells_the_better_of_nnunets_ways_beside_ours(inference):
    ways = [
        Turns((Usage(6.0, 1.0, 30),), (Usage(10.0, 1.0, 100),)),
        Turns((Usage(4.0, 1.0, 20),), (Usage(20.0, 1.0, 40),)),
    ]
    small, large = Turns((Usage(1.0, 3.0, 5),), (Usage(1.0, 30.0, 100),)), Turns((Usage(9.0, 7.0, 2 * 10**9),), ())
    plain = {"export_105_cpu_seconds_ours": 7.0, "export_105_peak_memory_gb_ours": 2.0}
    assert inference.summarize(ways, small, large, True) == {
        "predict_seconds": 0.4,
        "predict_peak_memory": 0.5,
        "export_25_cpu_seconds": 0.1,
        "export_25_peak_memory": 0.05,
        **plain,
    }
    alone = inference.summarize([], Turns(small.ours, ()), large, False)
    assert alone == {"export_25_cpu_seconds_ours": 3.0, "export_25_peak_memory_ours": 5, **plain}


def test_inference_interpolates_between_voxel_centers(inference):
    logits = np.zeros((2, 2, 1, 1), np.float16)
    logits[1, :, 0, 0] = 0, 4
    places = np.array([[z, 0, 0] for z in range(4)])
    # centers of 4 voxels on 2 samples: -0.25, 0.25, 0.75, 1.25, held at the edge
    found = inference.interpolate(logits, np.ones(4, np.int64), places, (4, 1, 1))
    assert found.tolist() == [0.0, 1.0, 3.0, 4.0]
    assert inference.interpolate(logits, np.zeros(4, np.int64), places, (4, 1, 1)).tolist() == [0.0] * 4


def test_inference_refuses_a_difference_that_is_no_tie(inference, tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "GRID", (1, 1, 2))
    monkeypatch.setattr(inference, "SHAPE", (1, 1, 2))
    np.array([[[[1.0, 3.0]]], [[[1.0, 2.0]]]], np.float16).tofile(tmp_path / "logits.raw")
    np.save(tmp_path / "theirs_2.npy", np.array([[[0, 0]]], np.uint8))
    np.save(tmp_path / "ours_2.npy", np.array([[[1, 0]]], np.uint8))
    assert inference.compare_export(tmp_path, 2) == "2 classes: 1 of 2 voxels differ, their two logits by at most 0"
    np.save(tmp_path / "ours_2.npy", np.array([[[0, 1]]], np.uint8))
    with pytest.raises(RuntimeError, match=r"2 classes: .* 1 apart"):
        inference.compare_export(tmp_path, 2)


def test_inference_makes_logits_of_one_kind_for_both_cases(inference, tmp_path):
    inference.make_logits(tmp_path, 3, (4, 5, 6))
    logits = np.fromfile(tmp_path / "logits.raw", np.float16).reshape(3, 4, 5, 6)
    assert set(np.unique(logits.argmax(0))) == {0, 1, 2}
    assert json.loads((tmp_path / "case.json").read_text())["grid"] == [4, 5, 6]
    inference.write_plan(tmp_path / "3", 3)
    plan = read_plans(tmp_path / "3" / "plans.json")
    assert (plan.labels.num_heads, plan.configuration("3d_fullres").spacing) == (3, (1.5, 1.5, 1.5))
