"""Scores of a validation as they arise: one line a case, of the same weights only, whatever a killed process left."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segfw.core.errors import WriteError
from segfw.core.labels import LabelSet
from segfw.core.scoring.metrics import CaseMetrics, case_metrics
from segfw.training.scored_cases import add_scored, begin_scored, load_scored

WEIGHTS, OTHERS = {"weights": "a"}, {"weights": "b"}


@pytest.fixture
def scored() -> CaseMetrics:
    reference = np.zeros((2, 4, 4), np.uint8)
    reference[0, :2] = 1
    return case_metrics("ann", reference, reference, LabelSet({"background": 0, "lung": 1}), (1.0, 1.0, 1.0))


def test_cases_come_back_in_their_order(scored: CaseMetrics, tmp_path: Path) -> None:
    file = tmp_path / ".scored.json"
    begin_scored(file, WEIGHTS, [scored])
    add_scored(file, WEIGHTS, replace(scored, case="bob"))
    found = load_scored(file, WEIGHTS)
    assert [case.case for case in found] == ["ann", "bob"]
    assert found[1].labels["lung"].tp == 8
    assert found[1].measures["lung"].hd95_mm == 0.0
    assert load_scored(file, OTHERS) == ()


def test_a_case_is_appended_and_the_others_stay_untouched(scored: CaseMetrics, tmp_path: Path) -> None:
    file = tmp_path / ".scored.json"
    begin_scored(file, WEIGHTS, [])
    inode, sizes = file.stat().st_ino, [0]
    for number in range(4):
        add_scored(file, WEIGHTS, replace(scored, case=f"case{number}"))
        sizes.append(file.stat().st_size)
    assert np.unique(np.diff(sizes)).size == 1
    assert file.stat().st_ino == inode


def test_a_line_that_was_cut_off_costs_its_case_alone(scored: CaseMetrics, tmp_path: Path) -> None:
    file = tmp_path / ".scored.json"
    begin_scored(file, WEIGHTS, [scored, replace(scored, case="bob")])
    file.write_text(file.read_text()[:-9])
    known = load_scored(file, WEIGHTS)
    assert [case.case for case in known] == ["ann"]
    begin_scored(file, WEIGHTS, known)
    add_scored(file, WEIGHTS, replace(scored, case="cyd"))
    assert [case.case for case in load_scored(file, WEIGHTS)] == ["ann", "cyd"]


@pytest.mark.parametrize("text", ["", "[1]\n", "null\n", '{"made_from": {}, "summary": {}}', "\ufeff"])
def test_what_is_something_else_counts_as_nothing(text: str, scored: CaseMetrics, tmp_path: Path) -> None:
    file = tmp_path / ".scored.json"
    file.write_text(text)
    assert load_scored(file, WEIGHTS) == ()
    begin_scored(file, WEIGHTS, [scored])
    assert [json.loads(line)["case"] for line in file.read_text().splitlines()] == ["ann"]


def test_a_file_that_cannot_be_written_is_named(scored: CaseMetrics, tmp_path: Path) -> None:
    (tmp_path / ".scored.json").mkdir()
    with pytest.raises(WriteError, match=r"cannot write .*/\.scored\.json"):
        add_scored(tmp_path / ".scored.json", WEIGHTS, scored)
