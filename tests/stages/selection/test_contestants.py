"""Which ensembles can be formed, and what is said of the others."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from segfw.core.scoring.metrics import CaseMetrics, Counts, summarize
from segfw.core.settings.schema import InferenceSettings
from segfw.stages.selection.contestants import ensemble_contestants, model_members, single_contestants
from segfw.stages.trainings.runs import Done, FinishedFold
from segfw.training.run import FULL, FoldRun
from tests.training.conftest import make_plan

CASES = ("a", "b", "c")


def fold_of(name: str, fold: int | str = 0, case: str = "c", **changes: Any) -> FinishedFold:
    """Return a finished fold of planner/network/configuration that validated one case."""
    planner, _, configuration = name.split("/")
    plan = make_plan()
    own = replace(plan.configurations["3d_fullres"], **changes.pop("configuration", {}))
    plan = replace(plan, planner=planner, configurations={configuration: own})
    whole = fold == FULL
    train = CASES if whole else tuple(other for other in CASES if other != case)
    run = FoldRun(plan, configuration, fold, train, () if whole else (case,), "store", **changes)  # type: ignore[arg-type]
    done = Done(1, 1, name, "", None, None, {})
    scores = None if whole else summarize([CaseMetrics(case, {"core": Counts(1, 0, 0, 1)})])
    return FinishedFold(Path("runs/main") / name / f"fold_{fold}", run, done, scores)


def formed(*folds: FinishedFold, choice: Any = "pairs") -> tuple[list[str], dict[str, str]]:
    scored = [fold for fold in folds if fold.scores]
    found, not_formed = ensemble_contestants(single_contestants(scored), list(folds), choice)
    return [contestant.name for contestant in found], not_formed


def test_folds_of_one_configuration_are_one_contestant() -> None:
    folds = [fold_of("p/n/2d", 0, "a"), fold_of("p/n/2d", 1, "b"), fold_of("p/n/3d_fullres", 1, "b")]
    first, second = single_contestants(folds)
    assert (first.name, first.members, first.keys) == ("p/n/2d", ("p/n/2d",), [(0, "a"), (1, "b")])
    assert second.keys == [(1, "b")]
    (pair,), _ = ensemble_contestants([first, second], folds, "pairs")
    assert (pair.name, pair.members, pair.keys) == ("p/n/2d + p/n/3d_fullres", ("p/n/2d", "p/n/3d_fullres"), [(1, "b")])
    assert model_members(pair, folds) == folds


def test_configurations_come_in_nnunets_order_and_those_of_ones_own_after_them() -> None:
    expected = ["2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres", "1_mine", "own"]
    names = [f"{planner}/n/{name}" for planner in ("default", "resenc_m") for name in expected]
    assert [single.name for single in single_contestants([fold_of(name) for name in sorted(names)])] == names


def test_a_model_holds_one_network_of_a_configuration() -> None:
    _, why = formed(fold_of("p/n/2d"), fold_of("p/vnet/2d"))
    name = "p/n/2d + p/vnet/2d"
    assert why == {name: "a model holds one network of a configuration, and p/n/2d and p/vnet/2d are two"}


def test_plans_that_differ_are_named() -> None:
    _, why = formed(fold_of("default/n/2d"), fold_of("resenc_l/n/3d_fullres"))
    (reason,) = why.values()
    assert reason == "a model has one plan, and those of default/n/2d and resenc_l/n/3d_fullres differ in planner"


def test_inference_settings_that_differ_are_named() -> None:
    _, why = formed(fold_of("p/n/2d"), fold_of("p/n/3d_fullres", inference=InferenceSettings(step_size=0.7)))
    (reason,) = why.values()
    assert reason.endswith("were validated with different inference settings: step_size")


def test_without_a_case_of_all_members_there_is_no_ensemble() -> None:
    _, why = formed(fold_of("p/n/2d", 0, "a"), fold_of("p/n/3d_fullres", 1, "b"))
    assert why == {"p/n/2d + p/n/3d_fullres": "no fold of all its members is finished for the same cases"}
    _, why = formed(fold_of("p/n/2d", 0, "a"), fold_of("p/n/3d_fullres", 1, "a"))  # seen in training by one of them
    assert len(why) == 1


def test_names_that_are_not_there_are_told() -> None:
    names, why = formed(
        fold_of("p/n/2d"), fold_of("p/n/3d_fullres"), choice=(("2d", "3d_fulres"), ("2d", "3d_fullres"))
    )
    assert names == ["p/n/2d + p/n/3d_fullres"]
    assert why == {"p/n/2d + 3d_fulres": "no fold of 3d_fulres is finished and validated"}


@pytest.fixture
def stages() -> list[FinishedFold]:
    """Folds of two cascades' stages: of the network n both, of the network v only the first."""
    second = {"configuration": {"previous_stage": "3d_lowres"}}
    return [
        fold_of("p/n/3d_cascade_fullres", 0, "a", **second),
        fold_of("p/n/3d_lowres", 0, "a"),
        fold_of("p/n/3d_lowres", 1, "b"),
        fold_of("p/v/3d_lowres", 0, "a"),
    ]


def test_a_first_stage_can_be_averaged_with_the_second_that_it_feeds(stages: list[FinishedFold]) -> None:
    found, _ = ensemble_contestants(single_contestants(stages), stages, (("3d_cascade_fullres", "p/n/3d_lowres"),))
    (pair,) = found
    assert pair.keys == [(0, "a")]
    assert model_members(pair, stages) == stages[:3]


def test_a_second_stage_brings_its_own_first_stage_and_no_other(stages: list[FinishedFold]) -> None:
    single = next(each for each in single_contestants(stages) if each.name.endswith("cascade_fullres"))
    assert model_members(single, stages) == stages[:3]
    _, why = formed(*stages)
    assert "p/n/3d_lowres and p/v/3d_lowres are two" in why["p/n/3d_cascade_fullres + p/v/3d_lowres"]


def test_a_second_stage_whose_first_is_gone_says_so(stages: list[FinishedFold]) -> None:
    _, why = formed(stages[0], fold_of("p/n/2d", 0, "a"))
    (reason,) = why.values()
    assert "is fed by 3d_lowres, of which no fold is finished" in reason
