"""nnU-Net's splits_final.json beside the raw data: used as it is, left alone where folds are made by other keys."""

import json
import logging
from pathlib import Path

import pytest

from segfw.core.cases.dataset import Case, Dataset
from segfw.core.cases.splits import Fold, random_splits
from segfw.core.errors import DataError, SegfwError, UsageError
from segfw.core.labels import LabelSet
from segfw.core.settings.schema import ExperimentSettings, SplitSettings, TaskSettings
from segfw.stages.dataset.folds import find_splits, prepare_splits, read_splits
from segfw.stages.dataset.raw_folds import check_folds
from segfw.stages.dataset.record import DatasetRecord, FileRecord
from segfw.workspace import Workspace

NAMES = [f"case_{i:02d}" for i in range(10)]
OWN = tuple(Fold(tuple(NAMES[:4]), (NAMES[4 + i],)) for i in range(6))


class Place:
    """A dataset's folder and its outputs."""

    def __init__(self, root: Path) -> None:
        self.file = root / "data" / "Mine" / "splits_final.json"
        self.file.parent.mkdir(parents=True)
        self.root, self.workspace = root, Workspace(root / "out")
        cases = tuple(Case(name, (name,)) for name in NAMES)
        dataset = Dataset("Mine", ("CT",), LabelSet({"background": 0, "organ": 1}), len(cases), cases)
        self.record = DatasetRecord(dataset, {name: FileRecord(1, 1, name) for name in NAMES})

    def bring(self, folds=OWN):
        self.file.write_text(json.dumps([{"train": fold.train, "val": fold.val} for fold in folds]))

    def settings(self, folds="cv", **split):
        task = TaskSettings(name="Mine")
        return ExperimentSettings(
            task=task, data_root=str(self.root / "data"), split=SplitSettings(**split), folds=folds
        )

    def prepare(self, **split):
        prepare_splits(self.settings(**split), self.workspace, self.record, dict)
        return read_splits(self.workspace.splits)


@pytest.fixture
def place(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    return Place(tmp_path)


@pytest.mark.parametrize("split", [{}, {"inner_share": 0.25}])
def test_the_raw_datas_own_folds_are_used_and_told(place, caplog, split):
    place.bring()
    assert place.prepare(**split) == OWN
    assert caplog.text.count(f"splits: the folds are those of {place.file}, which lies with the raw data") == 1
    assert f"(6 folds, split.file={place.file})" in caplog.text
    before = place.workspace.splits.stat().st_mtime_ns
    assert place.prepare(**split) == OWN
    assert place.workspace.splits.stat().st_mtime_ns == before


def test_what_they_leave_out_is_told(place, caplog):
    place.bring(OWN[:2])
    place.prepare()
    assert f"{place.file} leaves 4 of 10 cases out" in caplog.text


def test_other_keys_leave_the_file_alone_which_is_told(place, caplog):
    place.bring()
    assert place.prepare(num_folds=2) == random_splits(NAMES, 2, 12345)
    assert f"{place.file} is left alone, since split.num_folds=2 is given; split.file={place.file} would" in caplog.text


def test_a_file_that_is_named_is_not_spoken_over(place, caplog, tmp_path):
    place.bring()
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps([{"train": NAMES[:5], "val": NAMES[5:]}]))
    assert len(place.prepare(file=str(mine))) == 1
    assert "raw data" not in caplog.text
    assert "left alone" not in caplog.text


def test_without_the_file_folds_are_made_in_silence(place, caplog):
    assert place.prepare() == random_splits(NAMES, 5, 12345)
    assert "splits_final" not in caplog.text


def test_folds_made_before_the_file_came_are_refused_by_name_of_the_key(place):
    made = place.prepare()
    place.bring()
    for ask in (place.prepare, lambda: find_splits(place.settings(), place.workspace, place.record, dict)):
        with pytest.raises(SegfwError, match=rf"split.file: not given there, {place.file} now\n.*split.file="):
            ask()
    assert place.prepare(file=str(place.workspace.splits)) == made


def test_a_file_of_other_cases_is_refused(place):
    place.bring((Fold(("elsewhere",), ("case_00",)),))
    with pytest.raises(DataError, match=rf"{place.file}: fold 0 names cases in 'train' .* \['elsewhere'\]"):
        place.prepare()


def test_the_file_says_which_folds_can_be_chosen(place):
    with pytest.raises(UsageError, match=r"folds must lie between 0 and 4 \(split.num_folds=5\), got \(5,\)"):
        check_folds(place.settings(folds=(5,)))
    place.bring()
    check_folds(place.settings(folds=(5,)))
    with pytest.raises(UsageError, match="folds must lie between 0 and 1"):
        check_folds(place.settings(folds=(5,), num_folds=2))
