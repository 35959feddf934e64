"""Reports of profilers in a run's folder."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from segfw.core.support.ranks import Ranks
from segfw.training import profiling
from tests.training.test_fit import Fit, MakeRun


def profiled_run(make_run: MakeRun, profiler: str | None):
    run = make_run(max_epochs=1)
    return replace(run, trainer=replace(run.trainer, profiler=profiler))


@pytest.mark.parametrize(("profiler", "words"), [("simple", "run_training_epoch"), ("advanced", "training_step")])
def test_the_report_lies_in_the_runs_folder(make_run: MakeRun, fit: Fit, tmp_path: Path, profiler, words) -> None:
    fit(profiled_run(make_run, profiler), tmp_path)
    assert words in (tmp_path / "profile.txt").read_text()
    assert not list(tmp_path.glob(".tmp-*"))


@pytest.mark.slow
def test_a_trace_of_operators(make_run: MakeRun, fit: Fit, tmp_path: Path) -> None:
    fit(profiled_run(make_run, "pytorch"), tmp_path)
    assert "aten::" in (tmp_path / "profile.txt").read_text()
    assert json.loads((tmp_path / "profile.json").read_text())["traceEvents"]


def test_without_a_profiler_there_is_no_report(make_run: MakeRun, fit: Fit, tmp_path: Path) -> None:
    fit(make_run(max_epochs=1), tmp_path)
    assert not list(tmp_path.glob("profile*"))


def test_reports_of_other_ranks_have_names_of_their_own(tmp_path: Path) -> None:
    draft = tmp_path / "fit-profile-1.txt"
    draft.write_text("")
    profiling._keep(draft, tmp_path, Ranks(rank=1, world_size=2))
    assert [path.name for path in tmp_path.iterdir()] == ["profile_rank1.txt"]
