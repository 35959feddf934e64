"""Which configurations a command runs, and in what order."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import pytest

from segfw.core.errors import UsageError
from segfw.core.plan import Plan
from segfw.stages.configurations import check_mirror_axes, choose_configurations, without_second_stages
from tests.inference.tiny_model import make_plan

CASCADE = "3d_cascade_fullres"


@pytest.fixture
def plan() -> Plan:
    tiny = make_plan()
    full = tiny.configurations["3d_fullres"]
    stages = {CASCADE: replace(full, previous_stage="3d_lowres"), "3d_lowres": replace(full, next_stage=CASCADE)}
    return replace(tiny, configurations={**stages, **tiny.configurations})


def none(name: str, is_chosen: bool) -> Sequence[int]:
    return ()


def unless_chosen(name: str, is_chosen: bool) -> Sequence[int]:
    return () if is_chosen else (1, 3)


def test_a_stage_follows_the_one_that_feeds_it(plan: Plan) -> None:
    assert choose_configurations(plan, "auto", none) == ("3d_lowres", CASCADE, "2d", "3d_fullres")
    assert choose_configurations(plan, ("2d", CASCADE, "3d_lowres"), unless_chosen) == ("2d", "3d_lowres", CASCADE)
    assert choose_configurations(plan, (CASCADE,), none) == (CASCADE,)


def test_without_all_folds_of_the_first_stage_auto_leaves_the_second_out(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    log = SimpleNamespace(info=lambda text, *values: said.append(text % values))
    monkeypatch.setattr("segfw.stages.configurations.log", log)
    chosen = choose_configurations(plan, "auto", lambda name, is_chosen: (2, 4))
    assert chosen == ("3d_lowres", "2d", "3d_fullres")
    assert said[0].startswith(f"configuration {CASCADE} is left out: it takes the segmentations of 3d_lowres by all")
    assert "of which 2, 4 are neither finished nor trained by this command" in said[0]


def test_a_named_second_stage_needs_all_folds_of_the_first(plan: Plan) -> None:
    with pytest.raises(UsageError, match=f"{CASCADE} cannot be trained.* 1, 3 are neither .*folds=cv trains both"):
        choose_configurations(plan, ("2d", CASCADE), unless_chosen)


def test_unknown_names_are_refused(plan: Plan) -> None:
    with pytest.raises(UsageError, match="no configuration '3d_x'"):
        choose_configurations(plan, ("3d_x",), none)
    with pytest.raises(UsageError, match="'3d_fulres', did you mean '3d_fullres'"):
        choose_configurations(plan, ("3d_fulres",), none)


def test_an_axis_to_mirror_that_a_configuration_lacks_is_refused_with_its_name(plan: Plan) -> None:
    check_mirror_axes(plan, ("3d_fullres",), (0, 1, 2))
    with pytest.raises(UsageError, match=r"among \[0, 1\] for the configuration 2d, got \[0, 1, 2\]"):
        check_mirror_axes(plan, ("3d_fullres", "2d"), (0, 1, 2))


def test_an_inner_split_trains_no_second_stage(plan: Plan) -> None:
    assert without_second_stages(plan, ("3d_lowres", CASCADE, "2d"), "auto") == ("3d_lowres", "2d")
    assert without_second_stages(plan, ("2d",), ("2d",)) == ("2d",)
    with pytest.raises(UsageError, match=f"configurations: {CASCADE} takes .*split.inner_share does not give"):
        without_second_stages(plan, ("3d_lowres", CASCADE), (CASCADE,))
