import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segfw.core.errors import UsageError
from segfw.core.imaging.preprocessing import CropRecord
from segfw.core.settings.schema import InferenceSettings, NetworkSettings
from segfw.core.support.files import sha256
from segfw.core.support.ranks import Ranks
from segfw.core.types import IntArray, Volume
from segfw.data.kept_logits import has_logits, load_logits, logits_path
from segfw.data.next_stage import PreviousStage, is_committed
from segfw.nn.build import fresh_network
from segfw.training.run import FoldRun, NextStage
from segfw.training.validation import FoldIO, Share, logits_hash, made_from_of, validate_fold

MakeRun = Callable[..., FoldRun]


class Constant(nn.Module):
    """A network that finds one label everywhere."""

    def __init__(self, label: int) -> None:
        super().__init__()
        self.label = nn.Parameter(torch.tensor(float(label)), requires_grad=False)

    def forward(self, image: Tensor) -> Tensor:
        logits = torch.zeros(len(image), 3, *image.shape[2:])
        logits[:, int(self.label)] = 1
        return logits


@pytest.fixture
def asked(io: FoldIO) -> tuple[FoldIO, list[str]]:
    """References and files as ever, and a list of the cases that were written."""
    written: list[str] = []

    def write(case: str, array: IntArray, path: Path) -> None:
        written.append(case)
        io.write_segmentation(case, array, path)

    return replace(io, write_segmentation=write), written


def test_the_mean_of_samples_is_what_is_validated(make_run: MakeRun, io: FoldIO, tmp_path: Path) -> None:
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(b"weights")
    inference = InferenceSettings(step_size=1.0, mirror=False, uncertainty=True, samples=3)
    run = make_run(network=NetworkSettings("bayesian_unet", arguments={"dropout": 0.5}), inference=inference)
    network = fresh_network(run.configuration, 1, 3, True, run.network, 0)
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    network.register_forward_hook(count)
    assert validate_fold(run, network, tmp_path, io, checkpoint) is not None
    assert passes == 1 + 3 * 8  # one tells what a window takes; windows of 8 in 16 voxels


def test_a_nested_network_is_validated_at_its_depth(make_run: MakeRun, io: FoldIO, tmp_path: Path) -> None:
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(b"weights")
    run = make_run(network=NetworkSettings("unet_plus_plus"), inference=InferenceSettings(depth=1))
    network = fresh_network(run.configuration, 1, 3, True, run.network, 0)
    network.nodes["0_2"].register_forward_hook(lambda *_: pytest.fail("a node of depth 2 was computed"))
    assert validate_fold(run, network, tmp_path, io, checkpoint) is not None
    assert network.depth is None
    with pytest.raises(UsageError, match="between 1 and 2 for 3d_fullres, got 3"):
        make_run(network=NetworkSettings("unet_plus_plus"), inference=InferenceSettings(depth=3))


def test_a_network_short_of_memory_loses_no_case(
    one_thread, make_run: MakeRun, io: FoldIO, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two windows at once are too many; the scores are those of one at once, and the network trains as before."""

    class Crowded(Constant):
        def forward(self, image: Tensor) -> Tensor:
            if len(image) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
            return super().forward(image)

    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(b"weights")
    run = make_run(inference=InferenceSettings(window_batch_size=2))
    network = Crowded(1).train()
    crowded = validate_fold(run, network, tmp_path / "crowded", io, checkpoint)
    plain = validate_fold(run, Constant(1), tmp_path / "plain", io, checkpoint)
    assert crowded is not None
    assert crowded == plain
    assert network.training
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


def test_memory_does_not_make_another_validation(make_run: MakeRun) -> None:
    inference = InferenceSettings(memory_gb=3.0, probabilities=True)
    assert made_from_of(make_run(inference=inference), "w") == made_from_of(
        make_run(inference=InferenceSettings()), "w"
    )


def test_scores_by_hand(make_run: MakeRun, io: FoldIO, tmp_path: Path) -> None:
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(b"weights")
    network = Constant(1).train()
    summary = validate_fold(make_run(), network, tmp_path, io, checkpoint)
    assert summary is not None
    voxels = int((io.read_reference("c").array == 1).sum())
    assert summary.mean["core"]["dice"] == pytest.approx(2 * voxels / (voxels + 16**3))
    assert summary.mean["shell"]["dice"] == 0
    assert network.training
    written = np.load(tmp_path / "validation/c.nii.gz")
    assert (written.shape, set(written.ravel().tolist())) == ((16, 16, 16), {1})
    lines = (tmp_path / "validation/metrics.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines] == [["case", "label"], ["c", "core"], ["c", "shell"]]


def test_an_interrupted_validation_goes_on(make_run: MakeRun, asked: tuple[FoldIO, list[str]], tmp_path: Path) -> None:
    io, written = asked
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(b"weights")
    run = make_run(train_cases=("a",), val_cases=("b", "c"))

    def stop_at_c(case: str) -> Volume:
        if case == "c":
            raise KeyboardInterrupt
        return io.read_reference(case)

    with pytest.raises(KeyboardInterrupt):
        validate_fold(run, Constant(1), tmp_path, replace(io, read_reference=stop_at_c), checkpoint)
    assert not (tmp_path / "validation/metrics.json").exists()
    validate_fold(run, Constant(1), tmp_path, io, checkpoint)
    assert written == ["b", "c", "c"]
    cases = json.loads((tmp_path / "validation/metrics.json").read_text())["cases"]
    assert [entry["case"] for entry in cases] == ["b", "c"]


def test_cases_are_shared_out(make_run: MakeRun, asked: tuple[FoldIO, list[str]], tmp_path: Path) -> None:
    io, written = asked
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(b"weights")
    run = make_run(train_cases=("x",), val_cases=("a", "b", "c"))
    waits: list[int] = []
    for rank in (1, 0):
        share = Share(Ranks(rank, 2), lambda rank=rank: waits.append(rank))
        summary = validate_fold(run, Constant(1), tmp_path, io, checkpoint, share)
        assert (summary is None) == (rank == 1) == (not (tmp_path / "validation/metrics.json").exists())
    assert (written, waits) == (["b", "a", "c"], [1, 0])
    assert summary is not None
    assert [scored.case for scored in summary.cases] == ["a", "b", "c"]
    assert validate_fold(run, Constant(1), tmp_path, io, checkpoint) == summary  # one process finds all of them done
    assert len(written) == 3


def test_other_weights_are_validated_anew(make_run: MakeRun, asked: tuple[FoldIO, list[str]], tmp_path: Path) -> None:
    io, written = asked
    checkpoint = tmp_path / "last.ckpt"
    for content in (b"weights", b"weights", b"others"):
        checkpoint.write_bytes(content)
        validate_fold(make_run(), Constant(1), tmp_path, io, checkpoint)
    assert written == ["c", "c"]


def test_a_cascade_gets_the_cases_on_the_next_grid(make_run: MakeRun, io: FoldIO, tmp_path: Path) -> None:
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(b"weights")
    run = make_run(next_stage=NextStage("3d_cascade_fullres", (0.5, 1.0, 1.0)))
    validate_fold(run, Constant(1), tmp_path, io, checkpoint)
    folders = {tmp_path / "next_stage": made_from_of(run, sha256(checkpoint))}
    found = PreviousStage.open(folders, {"c": (32, 16, 16)})
    assert set(found.segmentation("c").ravel().tolist()) == {1}


def test_what_the_next_stage_lacks_is_made_again(
    make_run: MakeRun, asked: tuple[FoldIO, list[str]], tmp_path: Path
) -> None:
    io, written = asked
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(b"weights")
    run = make_run(train_cases=("a",), val_cases=("b", "c"), next_stage=NextStage("fine", (0.5, 1.0, 1.0)))
    validate_fold(run, Constant(1), tmp_path, io, checkpoint)
    (tmp_path / "next_stage/c.segmentation.npy").unlink()
    validate_fold(run, Constant(1), tmp_path, io, checkpoint)
    assert written == ["b", "c", "c"]
    other = replace(run, next_stage=NextStage("fine", (1.0, 1.0, 1.0)))
    validate_fold(other, Constant(1), tmp_path, io, checkpoint)
    assert written == ["b", "c", "c", "b", "c"]
    assert is_committed(tmp_path / "next_stage", made_from_of(other, sha256(checkpoint)))


def test_the_grid_of_the_next_stage() -> None:
    record = CropRecord((4.0, 1.0, 2.0), (9, 9, 9), ((0, 5), (0, 6), (0, 7)), (5, 6, 7), (1, 1, 1))
    # Planned axes are (X, Z, Y): spacing (2, 4, 1) and extents (5, 6, 7) in that order.
    assert NextStage("fine", (1.0, 1.0, 1.0)).shape(record, (2, 0, 1)) == (10, 24, 7)
    assert NextStage("flat", (2.0, 2.0)).shape(record, (2, 0, 1)) == (5, 12, 4)  # 3.5 rounds to 4


def test_logits_of_every_case_are_kept_unless_they_shall_not_be(make_run: MakeRun, io: FoldIO, tmp_path: Path) -> None:
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(b"weights")
    run = make_run()
    validate_fold(run, Constant(1), tmp_path / "kept", io, checkpoint)
    path = logits_path(tmp_path / "kept" / "validation", "c")
    assert has_logits(path, logits_hash(run, sha256(checkpoint)))
    logits = load_logits(path)
    assert (logits.shape, logits.dtype) == ((3, 16, 16, 16), np.float16)
    assert [values.tolist() for values in map(np.unique, logits)] == [[0], [1], [0]]
    validate_fold(replace(run, keep_logits=False), Constant(1), tmp_path / "not", io, checkpoint)
    assert not (tmp_path / "not" / "validation" / "logits").exists()


def test_logits_are_known_by_weights_and_settings_but_not_by_postprocessing(make_run: MakeRun) -> None:
    run = make_run()
    known = logits_hash(run, "x")
    settings = replace(run.inference, step_size=0.4), replace(run.inference, mirror=True)
    changed = [replace(run, inference=inference) for inference in settings]
    assert len({known, logits_hash(run, "y"), *(logits_hash(other, "x") for other in changed)}) == 4
    assert logits_hash(replace(run, inference=replace(run.inference, postprocessing=False)), "x") == known


def test_postprocessing_may_change_after_validation(make_run: MakeRun) -> None:
    run = make_run(inference=InferenceSettings(step_size=1.0))
    without = make_run(inference=InferenceSettings(step_size=1.0, postprocessing=False))
    other = make_run(inference=InferenceSettings(step_size=0.5))
    assert made_from_of(run, "0") == made_from_of(without, "0")
    assert made_from_of(run, "0") != made_from_of(other, "0")
