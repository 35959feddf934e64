"""What folds are made from: groups by name or table, identical images, and the labels that cases hold."""

import pytest

from segfw.core.cases.dataset import Case, Dataset
from segfw.core.errors import DataError, UsageError
from segfw.core.labels import LabelSet
from segfw.core.settings.schema import SplitSettings
from segfw.stages.dataset.groups import find_groups, gather_cases, identical_images
from segfw.stages.dataset.record import DatasetRecord, FileRecord


def dataset_of(*cases: Case, remap: dict[int, int] | None = None) -> Dataset:
    return Dataset("Mine", ("CT",), LabelSet({"background": 0, "organ": 1}), len(cases), cases, remap=remap or {})


def record_of(**contents: str) -> DatasetRecord:
    """A record of cases whose image files, one a word, have the contents named."""
    cases = [Case(n, tuple(f"{n}_{i}" for i in range(len(c.split())))) for n, c in contents.items()]
    files = {f"{n}_{i}": FileRecord(1, 1, word) for n, c in contents.items() for i, word in enumerate(c.split())}
    return DatasetRecord(dataset_of(*cases), files)


A, B = Case("a_1", ("a",), table={"patient": "p1"}), Case("b_1", ("b",), table={"patient": "p2"})


def test_groups_come_from_names_or_from_the_datasets_own_list():
    assert find_groups(SplitSettings(), dataset_of(A, B)) is None
    assert find_groups(SplitSettings(group_pattern="(.)_"), dataset_of(A, B)) == {"a_1": "a", "b_1": "b"}
    assert find_groups(SplitSettings(group_key="patient"), dataset_of(A, B)) == {"a_1": "p1", "b_1": "p2"}


def test_groups_come_from_a_table(tmp_path):
    (tmp_path / "t.csv").write_text("case,patient\na_1,x\nb_1,x\nc_1,y\n")
    split = SplitSettings(group_key="patient", table=str(tmp_path / "t.csv"))
    assert find_groups(split, dataset_of(A, B)) == {"a_1": "x", "b_1": "x"}


def test_a_table_that_is_not_there_or_lacks_something_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"split.table: there is no file .*t.csv"):
        find_groups(SplitSettings(group_key="patient", table=str(tmp_path / "t.csv")), dataset_of(A))
    (tmp_path / "t.csv").write_text("case,patient\nb_1,x\n")
    with pytest.raises(DataError, match=r"t.csv has no row for 1 of 2 cases: \['a_1'\]"):
        find_groups(SplitSettings(group_key="patient", table=str(tmp_path / "t.csv")), dataset_of(A, B))
    with pytest.raises(UsageError, match=r"t.csv has no such column; it has \['patient'\]"):
        find_groups(SplitSettings(group_key="site", table=str(tmp_path / "t.csv")), dataset_of(A, B))
    with pytest.raises(UsageError, match=r"the dataset's list of files has no such column; it has \['patient'\]"):
        find_groups(SplitSettings(group_key="site"), dataset_of(A, B))
    with pytest.raises(UsageError, match=r"give split.table=FILE.csv with the columns case and site"):
        find_groups(SplitSettings(group_key="site"), dataset_of(Case("a", ("a",))))


def test_identical_images_are_alike_in_every_channel():
    record = record_of(a="x y", b="x z", c="x y", d="y x", e="x", f="x")
    assert identical_images(record) == (("a", "c"), ("e", "f"))


def test_a_case_whose_files_are_missing_is_like_no_other():
    record = record_of(a="x", b="x", c="x")
    without = {path: state for path, state in record.files.items() if path != "b_0"}
    assert identical_images(DatasetRecord(record.dataset, without)) == (("a", "c"),)


def test_label_maps_are_read_once_and_only_when_asked_for():
    asked = []
    cases = gather_cases(SplitSettings(), record_of(a="x"), lambda: asked.append(1) or {"a": frozenset({1})})
    assert not asked
    assert cases.label_presence() == cases.label_presence() == {"a": frozenset({1})}
    assert asked == [1]


def test_some_of_the_cases_keep_their_groups_and_twins():
    cases = gather_cases(SplitSettings(group_pattern="."), record_of(a="x", b="x", c="x", d="y", e="y"), dict)
    some = cases.only(frozenset("abde"))
    assert (some.groups, some.twins) == ({n: n for n in "abde"}, (("a", "b"), ("d", "e")))
    assert cases.only(frozenset("ad")).twins == ()
