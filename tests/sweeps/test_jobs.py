"""What is swept, and what is said when some of the jobs are not done."""

from dataclasses import replace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from segfw.core.errors import UsageError
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.support.job_board import Posting
from segfw.sweeps.jobs import (
    DIED,
    configuration_choices,
    fold_choices,
    number_of_jobs,
    swept_values,
    variant,
    what_failed,
)

SETTINGS = ExperimentSettings(folds=(0,), configurations="auto")


def swept(*words):
    return swept_values(OverridesParser.create().parse_overrides(list(words)))


@pytest.mark.parametrize(
    ("word", "folds"),
    [
        ("folds=0,1", ((0,), (1,))),
        ("folds=[0,1],full", ((0, 1), "full")),
        ("folds=range(0,3)", ((0,), (1,), (2,))),
        ("folds=choice(cv,4)", ("cv", (4,))),
        ("folds=[0,1]", ((0,),)),  # one job; its settings say which
    ],
)
def test_folds_of_all_jobs(word, folds):
    assert fold_choices(SETTINGS, swept(word)) == folds


def test_configurations_of_all_jobs():
    assert configuration_choices(SETTINGS, swept("configurations=2d,[3d_lowres,3d_fullres]")) == (
        ("2d",), ("3d_lowres", "3d_fullres"),
    )  # fmt: skip
    assert configuration_choices(SETTINGS, {}) == ("auto",)


def test_a_wrong_choice_of_a_later_job_is_found_before_the_first():
    with pytest.raises(UsageError, match="got 'nine'"):
        fold_choices(SETTINGS, swept("folds=0,nine"))


def test_a_grid_has_the_product_of_its_values():
    assert number_of_jobs(swept("folds=0,1,2", "optimizer.lr=0.1,0.2", "seed=3")) == 6
    assert number_of_jobs({}) == 1


def test_variants_differ_by_what_is_searched_alone():
    one = variant(["folds=0", "optimizer.lr=0.1"], {"optimizer.lr"})
    assert one == variant(["optimizer.lr=0.1", "folds=1"], {"optimizer.lr"})
    assert one != variant(["folds=0", "optimizer.lr=0.2"], {"optimizer.lr"})


def test_what_is_not_done_is_named_with_its_log_and_what_finishes_it():
    done = Posting(0, ("+task=Demo", "tags=[a b]", "folds=0"), "main", "sweeps/0/segfw.log", "done")
    failed = replace(done, number=1, overrides=("+task=Demo", "folds=1"), log="sweeps/1/segfw.log", state="failed")
    failed = replace(failed, message="the disk is full", status=1)
    died = replace(done, number=2, overrides=("+task=Demo", "folds=2"), log="sweeps/2/segfw.log", state="running")
    died = replace(died, pid=0, started="1")
    text = what_failed([done, failed, died], 5, {"folds": (0, 1, 2, 3, 4)})
    assert text.splitlines() == [
        "4 of 5 jobs are not done:",
        "  job 1 (folds=1): the disk is full; log sweeps/1/segfw.log",
        f"  job 2 (folds=2): {DIED}; log sweeps/2/segfw.log",
        "  2 of them did not begin",
        "what is finished stays; the same command again goes on with the rest, and then selects",
        "to select from what is finished of name=main: "
        "python -m segfw +task=Demo 'tags=[a b]' name=main 'stages=[select,report]'",
    ]


@pytest.mark.parametrize(
    ("words", "swept", "command"),
    [
        (["configurations=2d", "folds=0"], ["folds"], "configurations=2d name=main 'stages=[select,report]'"),
        (["configurations=2d", "folds=0"], ["configurations"], "name=main 'stages=[select,report]'"),
        (["stages=[train,select]"], ["folds"], "name=main 'stages=[select]'"),
        (["stages=all"], ["folds"], "name=main 'stages=[select,report]'"),
        (["stages=[plan,train]"], ["folds"], None),
    ],
)
def test_what_selects_is_asked_for_what_the_jobs_were_asked_for(words, swept, command):
    done = Posting(0, tuple(words), "main", "log", "done")
    text = what_failed([done, replace(done, number=1, state="failed", message="no", status=1)], 2, dict.fromkeys(swept))
    found = [line.partition("python -m segfw ")[2] for line in text.splitlines() if line.startswith("to select from")]
    assert found == ([] if command is None else [command])


def test_where_nothing_is_done_there_is_nothing_to_select_from():
    failed = Posting(0, ("folds=0",), "main", "log", "failed", "no", 1)
    assert "to select" not in what_failed([failed], 1, {"folds": (0,)})
