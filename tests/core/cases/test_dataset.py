"""What a case says of its files."""

import time

import pytest

from segfw.core.cases.dataset import Case, Dataset
from segfw.core.errors import DataError
from segfw.core.labels import LabelSet


def dataset_of(*names: str) -> Dataset:
    return Dataset("Toy", ("CT",), LabelSet({"background": 0, "lung": 1}), 1, tuple(Case(name, ()) for name in names))


def test_the_files_of_a_case_are_its_images_and_then_its_label_map():
    assert Case("a", ("ct", "pet"), "mask").files == ("ct", "pet", "mask")
    assert Case("a", ("ct",)).files == ("ct",)


def test_a_case_is_found_by_its_name():
    assert dataset_of("a", "b").case("b").name == "b"
    with pytest.raises(DataError, match="dataset 'Toy' has no case 'c'; it has 2 cases"):
        dataset_of("a", "b").case("c")


def test_names_given_twice_are_refused():
    with pytest.raises(DataError, match=r"more than once: \['a', 'b'\]"):
        dataset_of("b", "a", "c", "b", "a", "b")


def test_finding_every_case_takes_no_time_however_many_there_are():
    names = [f"case{number}" for number in range(10_000)]
    dataset = dataset_of(*names)
    begun = time.process_time()
    assert [dataset.case(name).name for name in names] == names
    assert time.process_time() - begun < 0.5  # looked for one by one: 50 million comparisons
