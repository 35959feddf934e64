"""Reports of profilers in a run's folder."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segfw.core.settings.training import SamplingSettings
from segfw.core.support.ranks import Ranks
from segfw.training import profiling
from segfw.training.datamodule import SegmentationDataModule
from tests.training.conftest import CPU
from tests.training.test_fit import Fit, MakeRun, rows


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


def test_a_repeated_batch_is_the_same_to_the_bit(make_run: MakeRun) -> None:
    run = make_run(sampling=SamplingSettings(repeat_batches=1))
    loader = SegmentationDataModule.of_run(run, CPU).train_dataloader()
    batches = []
    for epoch in range(2):
        loader.batch_sampler.set_epoch(epoch)
        batches += list(loader)
    assert len(batches) == 4
    assert all(torch.equal(batch["image"], batches[0]["image"]) for batch in batches)
    assert all(torch.equal(batch["label"], batches[0]["label"]) for batch in batches)


def test_the_loss_of_a_repeated_batch_falls(make_run: MakeRun, fit: Fit, tmp_path: Path) -> None:
    run = make_run(max_epochs=6, sampling=SamplingSettings(repeat_batches=1))
    fit(run, tmp_path)
    losses = [float(row["train/loss"]) for row in rows(tmp_path)]
    assert losses[-1] < losses[0]
