from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segfw.core.errors import JobError
from segfw.training.callbacks import fold_validation
from segfw.training.devices import Device
from segfw.training.fit import FoldResult
from segfw.training.module import SegmentationModule
from segfw.training.out_of_memory import explained_out_of_memory
from segfw.training.run import FoldRun
from tests.training.conftest import CPU

MakeRun = Callable[..., FoldRun]


def test_a_network_too_large_says_what_it_needs_and_what_lowers_it(
    make_run: MakeRun, fit: Callable[..., FoldResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflow(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(SegmentationModule, "training_step", overflow)
    with pytest.raises(JobError) as caught:
        fit(make_run(), tmp_path)
    message = str(caught.value)
    assert "out of memory on CPU: 3d_fullres, batch 2, patch [8, 8, 8], estimated 0.0 GB" in message
    assert "plan.batch_size=1 (with trainer.accumulate_grad_batches=2" in message
    assert "trainer.precision=bf16-mixed" in message


def test_a_card_tells_how_much_it_has_and_held(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 7.5e9)
    card = Device("cuda", "Card", "16-mixed", 1, "Card", 8.0)
    with pytest.raises(JobError) as caught, explained_out_of_memory(make_run(), card):
        raise torch.cuda.OutOfMemoryError("no room")
    assert "7.5 GB held at the peak, 8.0 GB on the device" in str(caught.value)
    assert "bf16" not in str(caught.value)


@pytest.mark.parametrize("text", ["MPS backend out of memory", "DefaultCPUAllocator: can't allocate memory: you tried"])
def test_devices_without_an_error_of_their_own_are_understood(make_run: MakeRun, text: str) -> None:
    with pytest.raises(JobError, match="out of memory on CPU"), explained_out_of_memory(make_run(), CPU):
        raise RuntimeError(text)


def test_other_errors_pass(make_run: MakeRun) -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), explained_out_of_memory(make_run(), CPU):
        raise RuntimeError("shapes differ")


def test_half_the_batch_is_collected_twice_as_often_as_before(make_run: MakeRun) -> None:
    run = make_run()
    run = replace(run, trainer=replace(run.trainer, accumulate_grad_batches=3))
    with pytest.raises(JobError, match="accumulate_grad_batches=6 for"), explained_out_of_memory(run, CPU):
        raise torch.cuda.OutOfMemoryError("no room")


def test_a_batch_of_one_cannot_be_halved(make_run: MakeRun) -> None:
    run = make_run()
    plan = run.plan
    single = replace(plan.configurations["3d_fullres"], batch_size=1)
    run = replace(run, plan=replace(plan, configurations={"3d_fullres": single}))
    with pytest.raises(JobError) as caught, explained_out_of_memory(run, CPU):
        raise torch.cuda.OutOfMemoryError("no room")
    assert "plan.batch_size=" not in str(caught.value)
    assert "a smaller plan.patch_size=" in str(caught.value)


def test_whole_cases_that_do_not_fit_leave_the_training(
    make_run: MakeRun, fit: Callable[..., FoldResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflow(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("no room")

    monkeypatch.setattr(fold_validation, "validate_fold", overflow)
    with pytest.raises(JobError, match=r"training is complete, .* inference\.window_batch_size=1"):
        fit(make_run(), tmp_path)
    assert (tmp_path / "checkpoints/last.ckpt").is_file()
