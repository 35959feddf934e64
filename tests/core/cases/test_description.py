"""What task and file state together: labels renumbered, regions in order, channels, and whose fault it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.cases.dataset import Window
from segfw.core.cases.description import (
    Description,
    stated_channels,
    stated_labels,
    stated_normalization,
    stated_number,
    stated_window,
)
from segfw.core.errors import DataError, SegfwError, UsageError
from segfw.core.settings.schema import TaskSettings

BRATS = {"background": 0, "necrosis": 1, "edema": 2, "enhancing": 4}
REGIONS = {"whole": [1, 2, 4], "core": [1, 4], "enhancing": [4]}


def labels_of(content, **task):
    return stated_labels(Description(TaskSettings(**task), content, "dataset.json"))


def test_remap_renumbers_declared_labels():
    labels, remap = labels_of({"labels": BRATS}, remap={"4": 3})
    assert labels.values == {"background": 0, "necrosis": 1, "edema": 2, "enhancing": 3}
    assert remap == {4: 3}


def test_remap_renumbers_task_labels_regions_order_and_ignore():
    task = {
        "labels": {"background": 0, "whole": [1, 7], "core": 7, "ignore": 255},
        "regions_class_order": (1, 7),
        "remap": {7: 2, 255: 3, 99: 5},
    }
    labels, remap = labels_of({}, **task)
    assert labels.values == {"background": 0, "whole": (1, 2), "core": 2, "ignore": 3}
    assert labels.regions_class_order == (1, 2)
    assert remap == {7: 2, 255: 3, 99: 5}


def test_values_are_replaced_all_at_once():
    labels, _ = labels_of({"labels": {"background": 0, "a": 1, "b": 2}}, remap={1: 2, 2: 1})
    assert labels.values == {"background": 0, "a": 2, "b": 1}
    labels, _ = labels_of({"labels": {"background": 255, "a": 0}}, remap={255: 0, 0: 1})
    assert labels.values == {"background": 0, "a": 1}


def test_values_that_stay_are_left_out():
    assert labels_of({"labels": BRATS}, remap={4: 3, 1: 1})[1] == {4: 3}


def test_two_labels_may_not_become_one():
    with pytest.raises(
        UsageError, match=r"task\.remap gives 'necrosis' \(1\) and 'edema' \(2\) the same value 1; declare one name"
    ) as error:
        labels_of({"labels": BRATS}, remap={2: 1, 4: 2})
    assert "'task.labels={background: 0, necrosis: 1, enhancing: 4}'" in str(error.value)
    merged = {"background": 0, "necrosis": 1, "enhancing": 4}
    assert labels_of({"labels": BRATS}, labels=merged, remap={2: 1, 4: 2})[0].values["enhancing"] == 2


@pytest.mark.parametrize("remap", [None, {5: 1}])
def test_two_names_of_one_value_are_no_gap(remap):
    declared = {"labels": {"background": 0, "Anterior": 2, "Posterior": 2}}
    with pytest.raises(
        SegfwError, match="'Anterior' and 'Posterior' have the same value 2; keep one of the names"
    ) as error:
        labels_of(declared, remap=remap)
    assert "renumber" not in str(error.value)


def test_gaps_propose_the_remap_to_paste():
    with pytest.raises(DataError, match=r"^labels in dataset\.json: .* got \[0, 1, 2, 4\].*'task\.remap=\{4: 3\}'"):
        labels_of({"labels": BRATS})


def test_a_remap_that_leaves_gaps_is_completed():
    with pytest.raises(
        UsageError,
        match=r"^task\.remap, over labels in dataset\.json: .* got \[0, 3, 5\].*'task\.remap=\{2: 1, 4: 2, 9: 2\}'",
    ):
        labels_of({"labels": {"background": 0, "a": 2, "b": 4}}, remap={2: 3, 4: 5, 9: 5})


@given(st.lists(st.integers(1, 300), min_size=1, max_size=5, unique=True), st.booleans())
def test_the_proposed_remap_is_accepted(values, ignores):
    names = {f"label{value}": value for value in values}
    names |= {"ignore": names.pop(f"label{values[0]}")} if ignores and len(values) > 1 else {}
    declared = {"labels": {"background": 0, **names}}
    try:
        labels, _ = labels_of(declared)
    except DataError as error:
        proposal = str(error).split("task.remap={")[1].split("}")[0]
        remap = dict(pair.split(": ") for pair in proposal.split(", "))
        labels, _ = labels_of(declared, remap={key: int(value) for key, value in remap.items()})
    assert set(labels.values) == {"background", *names}


def test_task_regions_take_the_place_of_labels():
    content = {"labels": {"background": 0, "edema": 1, "core": 2, "enhancing": 3, "ignore": 4}}
    labels, _ = labels_of(content, regions={"whole": [1, 2, 3], "core": [2, 3], "enhancing": 3})
    assert labels.values == {"background": 0, "whole": (1, 2, 3), "core": (2, 3), "enhancing": 3, "ignore": 4}
    assert labels.regions_class_order == (1, 2, 3)
    assert labels.num_heads == 3


def test_regions_need_no_labels_and_are_renumbered():
    # of 1, 2, 4 the whole has 2 beyond the core, the core 1 beyond the enhancing, which has 4 -> 3
    labels, remap = labels_of({"labels": BRATS, "regions_class_order": [9]}, regions=REGIONS, remap={4: 3})
    assert labels.regions_class_order == (2, 1, 3)
    assert labels.values["core"] == (1, 3)
    assert (labels, remap) == labels_of({}, regions=REGIONS, remap={4: 3})
    assert labels_of({"regions": REGIONS, "remap": {4: 3}}) == (labels, remap)


def test_painted_values_that_nesting_does_not_give_are_asked_for():
    halves = {"left": [1, 4], "right": [2, 4]}
    asked = r"^task\.regions does not tell .* \['left', 'right'\], .* as in task\.regions_class_order=\[1, 2\]$"
    with pytest.raises(UsageError, match=asked):
        labels_of({}, regions=halves, remap={4: 3})
    assert labels_of({}, regions=halves, remap={4: 3}, regions_class_order=(4, 2))[0].regions_class_order == (3, 2)
    with pytest.raises(
        DataError, match=r"^regions in dataset\.json does not tell .* as in regions_class_order=\[1, 2\]$"
    ):
        labels_of({"regions": halves, "remap": {4: 3}})


def test_nested_regions_are_painted_with_the_smallest_value_beyond_the_inner_ones():
    labels = {"background": 0, "edema": 1, "necrosis": 2, "enhancing": 3}
    regions = {"whole": [1, 2, 3], "core": [2, 3]}
    assert labels_of({"labels": labels}, regions=regions)[0].regions_class_order == (1, 2)
    assert labels_of({}, labels={"background": 0, **regions})[0].regions_class_order == (1, 2)


def test_a_region_inside_another_comes_after_it():
    with pytest.raises(UsageError, match=r"task\.regions states 'core' before 'whole', .* state 'whole' first"):
        labels_of({}, regions={"core": [2, 3], "whole": [1, 2, 3]})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"a": 1}, "labels must hold 'background'"),
        ({"background": 0, "a": 1.5}, "must give 'a' an integer or a list of integers, got 1.5"),
        ({"background": 0, "a": [1, "b"]}, r"must be a list of integers for 'a', got \[1, 'b'\]"),
        ({"background": 0, "a": 1, "ignore": 3}, "'ignore' must be the largest value, 2 here, got 3"),
        ({"background": 0, "a": 1, "b": 1}, "'a' and 'b' have the same value"),
        ({"background": 0, "a": 2}, r"consecutive from 0, got \[0, 2\]"),
    ],
)
def test_wrong_labels_are_the_fault_of_whoever_states_them(labels, message):
    with pytest.raises(UsageError, match=rf"^task\.labels:? .*{message}"):
        labels_of({}, labels=labels)
    with pytest.raises(DataError, match=rf"^labels in dataset\.json:? .*{message}"):
        labels_of({"labels": labels})


def test_a_wrong_number_of_painted_values_names_where_it_is_stated():
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    with pytest.raises(UsageError, match=r"^task\.regions_class_order needs one value .*'whole', 'core'\], got \[1\]"):
        labels_of({"labels": labels}, regions_class_order=(1,))
    with pytest.raises(DataError, match=r"^regions_class_order in dataset\.json needs one value .* got \[1\]"):
        labels_of({"labels": labels, "regions_class_order": [1]})


def test_the_order_of_regions_in_labels_is_said_but_not_guessed():
    with pytest.raises(DataError, match=r"got None; nested as they are, it should be \[1, 2\]"):
        labels_of({"labels": {"background": 0, "whole": [1, 2], "core": 2}})


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"regions": {"a": 1, "b": [2]}}, "task.regions must hold a region of several values"),
        ({"regions": {"a": [1, 2, 7]}}, r"task.regions names the values \[7\], but labels in dataset.json has only"),
        ({"regions": {"a": [2, 4]}}, r"leaves out \{'necrosis': 1\}.*task\.remap=\{1: 0\}"),
        ({"remap": {"one": 1}}, r"task.remap must map integers to integers, .* got the key 'one'"),
        ({"remap": {"1": "2"}}, "task.remap must map to integers of at least 0, got '2' for 1"),
        ({"remap": {"1": -1}}, "got -1 for 1"),
        ({"remap": {"1": 2, "01": 3}}, "task.remap maps 01 twice, to 2 and 3"),
    ],
)
def test_wrong_settings_are_usage_errors(task, message):
    with pytest.raises(UsageError, match=message):
        labels_of({"labels": BRATS}, **task)


def test_the_same_in_a_file_is_a_data_error():
    with pytest.raises(DataError, match=r"remap in dataset\.json must map values .* got \[1\]"):
        labels_of({"labels": BRATS, "remap": [1]})
    with pytest.raises(DataError, match=r"window in dataset\.json: unknown CT window 'lungs', did you mean 'lung'"):
        stated_window(Description(TaskSettings(), {"window": "lungs"}, "dataset.json"))


def test_normalization_is_by_name_where_nothing_is_stated():
    def stated(*schemes):
        return stated_normalization(Description(TaskSettings(normalization=schemes), {}, "f"))

    assert stated_normalization(Description(TaskSettings(), {}, "f")) == stated(None, None) == ()
    assert stated(None, "CT") == (None, "ct")
    with pytest.raises(UsageError, match=r"task.normalization: unknown normalization 'zscor', did you mean 'zscore'"):
        stated("zscor")


def test_window_and_number():
    description = Description(TaskSettings(window={"level": 40, "width": 400}), {"numTraining": 3}, "f")
    assert stated_window(description) == Window(40.0, 400.0)
    assert (stated_number(description, 7), stated_number(Description(TaskSettings(), {}, "f"), 7)) == (3, 7)


@pytest.mark.parametrize("names", [["CT", "PET"], {"0": "CT", "1": "PET"}])
@pytest.mark.parametrize("key", ["channel_names", "channels", "modality"])
def test_channels_are_named_in_the_order_written(key, names):
    assert stated_channels(Description(TaskSettings(), {key: names}, "f"), ("x",)) == ("CT", "PET")


def test_channels_may_be_ones_own_word():
    assert stated_channels(Description(TaskSettings(), {"modality": "mr"}, "f"), num_files=2) == ("MRI", "MRI")
    with pytest.raises(DataError, match="modality in f: unknown modality 'nonsense'"):
        stated_channels(Description(TaskSettings(), {"modality": "nonsense"}, "f"))
    with pytest.raises(DataError, match=r"f names no channels"):
        stated_channels(Description(TaskSettings(), {"channels": 3}, "f"))


def test_what_nobody_states_is_to_be_given():
    with pytest.raises(UsageError, match=r"f names no channels .* task\.channels=\[CT\]"):
        stated_channels(Description(TaskSettings(), {}, "f"))
    with pytest.raises(UsageError, match=r"f declares no labels; .* 'task\.labels=\{background: 0, liver: 1\}'"):
        stated_labels(Description(TaskSettings(), {}, "f"))
