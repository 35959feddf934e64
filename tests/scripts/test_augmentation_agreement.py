"""Agreement of augmentations: what is noted of a patch, and how far two notes are apart."""

import json
import sys

import numpy as np
import pytest


@pytest.fixture
def agreement(benchmark):
    return benchmark("augmentation_agreement")


def test_changes_of_a_patch_by_hand(agreement):
    before = np.zeros((1, 2, 2), np.float32)
    outcomes = [
        (before, np.array([[[0, 0], [0, 1]]])),
        (np.array([[[0.0, 0.0], [2.0, -6.0]]]), np.array([[[2, 0], [0, 1]]])),
    ]
    noted = agreement.note_changes(before, lambda count: outcomes * (count // 2), 100)
    assert noted["frequency"][0] == 0.5
    assert noted["frequency"][1] == pytest.approx((0.25 / 99) ** 0.5)
    names = ("mean", "deviation", "minimum", "maximum", "label_-1", "label_0", "label_1", "label_2")
    assert [noted[name][0] for name in names] == [-1, pytest.approx(3), -6, 2, 0, 0.5, 0.25, 0.25]


def test_distance_in_standard_errors(agreement):
    assert agreement.distance([1.0, 0.3], [2.0, 0.4]) == pytest.approx(2)
    assert agreement.distance([1.0, 0.0], [1.0, 0.0]) == 0


def test_agreement_tells_our_frequencies(agreement, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(agreement, "QUICK", 100)
    monkeypatch.setattr(sys, "argv", ["augmentation_agreement.py", "--quick", "--results", str(tmp_path)])
    threads = agreement.torch.get_num_threads()
    agreement.main()
    agreement.torch.set_num_threads(threads)
    outcome = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(outcome) == 3 * 9
    assert outcome["frequency_3d_mirror"] > outcome["frequency_3d_noise"] > 0
    content = json.loads((tmp_path / "augmentation_agreement.json").read_text())
    assert content["draws"] == 100
    assert content["ours"]["2d"]["spatial"]["frequency"][0] == outcome["frequency_2d_spatial"]
