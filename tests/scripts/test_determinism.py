"""The same bits whatever the surroundings, and a comparison that sees one bit."""

from pathlib import Path

import pytest
import torch

from scripts.benchmarks.determinism import Change, Results, difference, perform, with_changes


def test_a_change_replaces_the_word_of_its_key():
    assert with_changes(["a.b=1", "a=2", "c=3"], ("a=4", "d=5")) == ["a.b=1", "c=3", "a=4", "d=5"]


def test_a_difference_is_named_and_measured():
    one = Results({"plan": "x", "weights": "y"}, {"w": torch.tensor([1.0, -4.0])})
    other = Results({"plan": "x", "weights": "z"}, {"w": torch.tensor([1.5, -4.0])})
    assert difference(one, one)["differing"] == []
    assert difference(one, other) == {
        "differing": ["weights"],
        "largest_difference_of_a_weight": 0.5,
        "largest_weight": 4.0,
    }


@pytest.mark.slow
def test_a_whole_job_gives_the_same_bits_in_other_surroundings(tmp_path: Path):
    otherwise = Change(
        train=("executor.workers=2", "data.workers=2"),
        predict=("devices=2",),
        environment={"PYTHONHASHSEED": "4711", "TZ": "Pacific/Apia", "LC_ALL": "C.UTF-8"},
        shuffles=True,
        is_cut=True,
    )
    first = perform(tmp_path / "first", tmp_path / "data", "cpu", Change())
    assert difference(first, perform(tmp_path / "other", tmp_path / "data", "cpu", otherwise))["differing"] == []
