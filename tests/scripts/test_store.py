"""The benchmark of store formats, on small arrays: what it tells, and that it notices a format that changes values."""

import json
import sys

import numpy as np
import pytest


@pytest.fixture
def store(benchmark):
    return benchmark("store")


def test_store_on_small_arrays(store, tmp_path, monkeypatch, capsys):
    sizes = {"QUICK_SHAPE": (12, 14, 16), "LARGE_PATCH": (8, 8, 8), "LARGE_READS": 40, "SMALL_CASES": 3}
    for name, value in {**sizes, "SMALL_PATCH": (5, 6, 7), "SMALL_READS": 40}.items():
        monkeypatch.setattr(store, name, value)
    monkeypatch.setattr(sys, "argv", ["store.py", "--quick", "--results", str(tmp_path)])
    store.main()
    outcome = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert outcome["bytes_large_image_npy_float16"] == pytest.approx(0.5, abs=0.01)
    works = [f"{size}_{kind}" for size in ("large", "small") for kind in ("image", "label")]
    assert all(outcome[f"milliseconds_{work}_npy_ours"] > 0 for work in works)
    assert json.loads((tmp_path / "store.json").read_text())["outcome"] == outcome


def test_store_notices_a_format_that_changes_values(store, monkeypatch, tmp_path):
    lossy = store.Format(lambda array, path, patch: store.write_npy(array + 1, path, patch), store.map_array)
    monkeypatch.setattr(store, "formats", lambda image: {"lossy": lossy})
    work = store.Work([np.zeros((4, 4, 4), np.int8)], (2, 2, 2), [(0, (0, 0, 0))])
    with pytest.raises(RuntimeError, match="lossy does not give back what was written"):
        store.measure(work, tmp_path, 1)
