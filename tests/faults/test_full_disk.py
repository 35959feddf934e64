"""A full disk, at every file that a job writes: it is named, nothing is left half, and the same command goes on."""

import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from segfw.__main__ import main
from segfw.core.errors import DataError, JobError, WriteError
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.support import files
from segfw.core.support.files import atomic_path, replace_text, write_error, write_text, writing
from segfw.core.support.locks import hold
from segfw.core.support.log_file import LogFile
from segfw.data.case_files import write_member
from segfw.data.kept_logits import save_logits
from segfw.inference.package_files import write_zip
from segfw.io.datasets.phantom import make_phantom_dataset
from segfw.io.formats.writing import write_by_itk
from segfw.stages.fingerprint import SampleFile
from segfw.training.callbacks import curves_log
from segfw.training.callbacks.curves_log import CurvesLog
from segfw.training.checkpoints import AtomicCheckpointIO
from segfw.training.epoch_cost import EpochCost
from segfw.training.launch import Failure, _explained
from tests.faults.disks import RefusesOnce, fill, small_disk
from tests.faults.tiny_job import STAGES, cheap, command, run, run_folder, settings_of
from tests.stages.prediction.test_flow import Steps, numbered_cases, segment
from tests.training.conftest import CPU

NO_ROOM = "No space left on device"
NOISE = np.random.default_rng(0).integers(0, 255, (64, 64, 64)).astype(np.uint8)  # 262 kB that do not shrink

HINT = f"{NO_ROOM}; make room and give the command again"

WRITERS: dict[str, Callable[[Path], object]] = {
    "a.json": lambda path: write_text(path, "x" * NOISE.size),
    "b.json": lambda path: replace_text(path, "x" * NOISE.size),
    "last.ckpt": lambda path: AtomicCheckpointIO().save_checkpoint({"w": torch.from_numpy(NOISE)}, path),
    "case.image.npy": lambda path: write_member(path, NOISE),
    "case.npz": lambda path: save_logits(path, NOISE.reshape(2, -1, 8, 8).view(np.float16), "made from"),
    "model.zip": lambda path: write_zip(path, {"weights": NOISE.tobytes()}),
    **{
        f"label{ending}": lambda path: write_by_itk(path, sitk.GetImageFromArray(NOISE))
        for ending in (".nii.gz", ".nii", ".hdr", ".img", ".nrrd", ".nhdr", ".mha", ".mhd", ".gipl", ".gipl.gz")
    },
}


@pytest.fixture
def disk(tmp_path: Path):
    with small_disk(tmp_path / "disk", 200) as place:
        yield place


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_names_its_file_and_leaves_none(disk: Path, name: str, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=rf"^cannot write {re.escape(str(disk / name))}: {NO_ROOM}; make room"):
        WRITERS[name](disk / name)
    assert list(disk.iterdir()) == []
    WRITERS[name](tmp_path / name)
    assert (tmp_path / name).stat().st_size > 0


def test_demo_images_are_not_made_in_part(disk: Path) -> None:
    with pytest.raises(WriteError, match=rf"{disk}.*demo_\d+\.nii\.gz: {NO_ROOM}"):
        make_phantom_dataset(disk / "Demo")
    assert list(disk.iterdir()) == []


def test_a_writer_that_fails_where_there_is_room_is_heard(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_path(tmp_path / "a.nii"):
            raise RuntimeError("the pixel type is not supported")

    with pytest.raises(RuntimeError, match="not supported"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_read_is_named_beside_the_one_that_is_written(tmp_path: Path) -> None:
    told = pytest.raises(WriteError, match=r"cannot write .*copy\.txt: No such file or directory \(.*absent\.txt\)")
    with told, writing(tmp_path / "copy.txt"):
        (tmp_path / "absent.txt").read_text()


def test_samples_take_their_room_before_they_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise OSError(28, NO_ROOM)

    monkeypatch.setattr(files.os, "posix_fallocate", no_room)
    path = tmp_path / "samples.f32"
    with pytest.raises(WriteError, match=rf"cannot write {path}: {NO_ROOM}"):
        SampleFile(str(path), channels=2, per_case=10, total=30).create()


def test_a_lock_for_which_there_is_no_room_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.lock"
    with monkeypatch.context() as patch:
        RefusesOnce(patch, tmp_path)
        with pytest.raises(WriteError, match=rf"cannot write {path}: {NO_ROOM}"), hold(path, "x"):
            pass
    assert list(tmp_path.iterdir()) == []
    with hold(path, "x", wait=False) as lock:
        lock.check()


def test_a_prediction_names_the_case_and_the_file_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = numbered_cases(tmp_path, 2)
    output = tmp_path / "out"
    cases = [replace(case, target=output / case.target.name) for case in cases]
    with monkeypatch.context() as patch:
        patch.setattr("segfw.io.formats.writing.require_whole", once(cut_short))
        failures = {outcome.name: outcome.failure for outcome in segment(Steps(), cases)}
    why = "cannot write .*/out/case0\\.mha: it was not written as a whole"
    assert re.match(why, failures.pop("case0"))
    assert failures == {"case1": ""}
    assert [path.name for path in output.iterdir()] == ["case1.mha"]
    assert [outcome.name for outcome in segment(Steps(), cases)] == ["case0"]


def cut_short(path: Path, *_: object) -> None:
    raise DataError(f"{path} is truncated")


def once(function: Callable[..., None]) -> Callable[..., None]:
    """Call `function` the first time only."""
    waiting = [function]
    return lambda *arguments: waiting.pop()(*arguments) if waiting else None


def test_other_processes_tell_it_in_the_same_words() -> None:
    error = write_error(Path("out/last.ckpt"), OSError(28, NO_ROOM))
    told = f"cannot write out/last.ckpt: {HINT}"
    assert str(pickle.loads(pickle.dumps(error))) == told
    explained = _explained([Failure(0, 1, f"{type(error).__name__}: {error}")], processes=2, status=1)
    assert (type(explained), str(explained)) == (WriteError, told)


def test_a_log_that_cannot_be_written_is_said_once_and_hides_nothing(
    disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = LogFile(disk / "segfw.log")
    filler = fill(disk)
    for number in range(3):
        handler.line(f"{number}" * 5000)
    handler.close()
    filler.unlink()
    (disk / "segfw.log").unlink()
    said = capsys.readouterr().err
    assert (
        said
        == f"segfw: the log {disk / 'segfw.log'} cannot be written ({NO_ROOM}); it lacks what is said from here on\n"
    )


def test_curves_without_room_are_said_and_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_room(rows: object, path: Path) -> None:
        raise write_error(path, OSError(28, NO_ROOM))

    monkeypatch.setattr(curves_log, "draw_curves", no_room)
    CurvesLog(tmp_path, EpochCost(CPU, 2)).on_train_end(FirstOfAll(), None)  # type: ignore[arg-type]
    assert f"the curves are not drawn: cannot write {tmp_path / 'training.png'}: {HINT}" in caplog.messages


class FirstOfAll:
    """What the curves ask of a trainer."""

    is_global_zero = True


@pytest.mark.slow
def test_the_program_says_it_in_one_line_and_goes_on_when_there_is_room(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "disk", 400) as disk, cheap():
        words = [*command(tmp_path, "stages=fingerprint"), f"output_root={disk / 'out'}"]
        filler = fill(disk)
        assert main(words) == 1
        said = capfd.readouterr().err
        assert re.fullmatch(rf"segfw: {disk}/out/\S+: {NO_ROOM}\n", said), said
        filler.unlink()
        assert main(words) == 0
        assert (disk / "out/Tiny/fingerprint.yaml").is_file()


def what_stops(settings: ExperimentSettings, stage: str) -> str | None:
    """Return the message with which the stage ends, None where it is through."""
    try:
        run(settings, [stage])
    except JobError as error:
        return str(error)
    return None


@pytest.mark.slow
def test_each_file_of_the_main_job_may_find_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is refused once; the command is given again until it is through, and has made what it would have."""
    output = tmp_path / "out" / "Tiny"
    with cheap():
        settings = settings_of(tmp_path)
        disk = RefusesOnce(monkeypatch, output)
        for stage in STAGES:
            while (told := what_stops(settings, stage)) is not None:
                assert told.split("\n")[-1].partition("cannot write ")[2] in {
                    f"{path}: {HINT}" for path in disk.refused
                }
                assert [path for path in output.rglob(".tmp-*") if path.is_file()] == []
                assert len(disk.refused) < 100
        monkeypatch.undo()
        untouched = settings_of(tmp_path / "untouched")
        run(untouched)
    names = {path.name for path in disk.refused}
    assert {
        *("dataset.yaml", "dataset.json", "splits.json", "verification.json", "fingerprint.yaml", "default.yaml"),
        *("ann.image.npy", "bob.label.npy", "cyd.locations.npy", "ann.record.json", "manifest.json"),
        *("config.yaml", "metrics.csv", "best.ckpt", "last.ckpt", "progress.json", ".scored.json"),
        *("ann.nii.gz", "ann.npz", "metrics.json", "failed.yaml", "done.yaml"),
        *("main.yaml", "scores.json", "README.md", "model.yaml", "index.html", "example_main_ann.nii.gz"),
    } <= names
    assert [name for name in names if name.endswith(".safetensors")]
    assert [name for name in names if name.startswith("checked_3d_")]
    assert {f"{stage}.lock" for stage in ("fingerprint", "plan default", "selection main", "report")} <= names
    there, expected = tmp_path / "out", tmp_path / "untouched" / "out"
    weights = [
        sorted(path.name for path in place.glob("Tiny/models/main/*.safetensors")) for place in (there, expected)
    ]
    assert weights[0] == weights[1]
    assert not (run_folder(tmp_path) / "failed.yaml").exists()
