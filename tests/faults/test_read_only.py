"""Outputs that cannot be written: one line, before any work whose result would be lost."""

from pathlib import Path

import pytest

from segfw.__main__ import main
from segfw.core.errors import WriteError
from segfw.core.settings.verbs import EvaluateSettings
from segfw.core.support.files import require_writable
from segfw.core.support.locks import hold
from segfw.stages.inspection import evaluate
from segfw.stages.prediction.claims import CaseList
from segfw.stages.prediction.outputs import PredictionCase
from segfw.training.checkpoints import AtomicCheckpointIO
from tests.faults.disks import make_read_only, small_disk
from tests.faults.tiny_job import command
from tests.stages.tiny_dataset import make

WHY = "Read-only file system"


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory):
    with small_disk(tmp_path_factory.mktemp("disks") / "locked", 200) as place:
        (place / "there").mkdir()
        make_read_only(place)
        yield place


def test_the_program_says_it_in_one_line(disk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*command(tmp_path), f"output_root={disk / 'out'}"]) == 1
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1, said
    assert said[0].startswith(f"segfw: {disk / 'out'}") or said[0].startswith(f"segfw: cannot write {disk / 'out'}")
    assert WHY in said[0]


def test_evaluate_does_not_begin(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(make(tmp_path / "Tiny") / "labelsTr")
    monkeypatch.setattr(evaluate, "_evaluate", lambda *_: pytest.fail("cases are scored"))
    settings = EvaluateSettings(predictions=folder, references=folder, output=str(disk / "there" / "scores.json"))
    with pytest.raises(WriteError, match=rf"cannot write {disk}/there/scores\.json: {WHY}"):
        evaluate.run(settings)


def test_no_case_is_begun_whose_segmentation_could_not_be_written(disk: Path, tmp_path: Path) -> None:
    cases = CaseList([PredictionCase("a", (tmp_path / "a.nii.gz",), disk / "there" / "a.nii.gz")])
    with pytest.raises(WriteError, match=rf"cannot write {disk}/there/\.a\.nii\.gz\.lock: {WHY}"):
        cases.take()


def test_locks_and_checkpoints_name_what_they_cannot_write(disk: Path) -> None:
    with (
        pytest.raises(WriteError, match=rf"cannot write {disk}/.locks/x\.lock: {WHY}"),
        hold(disk / ".locks/x.lock", "x"),
    ):
        pass
    with pytest.raises(WriteError, match=rf"cannot write {disk}/there/last\.ckpt: {WHY}"):
        AtomicCheckpointIO().save_checkpoint({"epoch": 1}, disk / "there" / "last.ckpt")


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=rf"cannot write {tmp_path}/file/a\.json: File exists \({tmp_path}/file\)"):
        require_writable(tmp_path / "file" / "a.json")
    require_writable(tmp_path / "new" / "a.json")
    assert list((tmp_path / "new").iterdir()) == []
