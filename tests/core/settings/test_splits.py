"""`split.*` on a command line: patterns mean what was typed, and keys that contradict each other are refused."""

import dataclasses

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra

from segfw import config
from segfw.command_line import parse_command
from segfw.composition import register_schemas
from segfw.config import config_folder
from segfw.core.errors import UsageError
from segfw.core.settings.schema import ExperimentSettings, SplitSettings


def composed(*words: str) -> ExperimentSettings:
    register_schemas()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        page = hydra.compose("experiment", list(parse_command(["task.name=Mine", *words]).overrides))
    return config.load(ExperimentSettings, page)


@pytest.mark.parametrize("pattern", [r"(patient\d+)_", "(.+)_|.+", r"^([A-Z]{2},[^_=]*)\.", r"(?P<who>\w+?)-${x}'\\"])
def test_a_pattern_is_taken_as_it_is_typed(pattern):
    split = composed("split.kind=group", f"split.group_pattern={pattern}").split
    assert split == SplitSettings(kind="group", group_pattern=pattern)


def test_every_kind_can_be_chosen_and_others_are_refused():
    for kind in ("random", "group", "stratified", "leave_one_out"):
        assert composed(f"split.kind={kind}").split.kind == kind
    with pytest.raises(UsageError, match=r"split.kind must be one of .*'leave_one_out'.*, got 'groups', did you mean"):
        composed("split.kind=groups")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["split.group_pattern=(a", "split.kind=group"], r"split.group_pattern=\(a is no regular expression"),
        (
            ["split.group_pattern=a", "split.group_key=p"],
            r"give one of them, got split.group_pattern=a split.group_key=p",
        ),
        (["split.table=t.csv"], r"split.table=t.csv needs split.group_key=COLUMN"),
        (["split.file=f.json", "split.kind=group"], r"split.file=f.json gives the folds as they are.*split.kind=group"),
        (["folds=4", "split.num_folds=4"], r"between 0 and 3 \(split.num_folds=4\)"),
        (["folds=5", "split.kind=stratified"], r"between 0 and 4"),
        (["split.num_folds=1"], r"split.num_folds must be at least 2, got 1"),
    ],
)
def test_contradictions_are_refused(words, message):
    with pytest.raises(UsageError, match=message):
        composed(*words)


def test_how_many_folds_there_are_may_be_known_only_later():
    assert composed("folds=39", "split.kind=leave_one_out").folds == (39,)
    assert composed("folds=[7,8]", "split.file=mine.json").folds == (7, 8)
    assert composed("folds=7").folds == (7,)  # the dataset may bring folds of its own


def test_the_split_is_the_published_one_by_default():
    assert composed().split == SplitSettings()
    assert dataclasses.astuple(SplitSettings())[:3] == ("random", 5, 12345)
