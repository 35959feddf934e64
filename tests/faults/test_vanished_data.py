"""Raw data or outputs that are gone, between two stages or while one runs: named at once, and nothing is lost."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pytorch_lightning import Callback

from segfw.core.errors import ArtefactError, DataError, JobError, SegfwError
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.support.locks import hold
from segfw.stages import preparation
from segfw.training.callbacks import curves_log
from segfw.training.fit import fit_fold
from segfw.training.run import FoldRun
from segfw.training.validation import FoldIO
from tests.faults.tiny_job import cheap, run, run_folder, run_longer, settings_of
from tests.training.conftest import CPU


def raw(settings: ExperimentSettings, name: str) -> Path:
    return Path(settings.data_root) / "Tiny" / name


@pytest.mark.parametrize("gone", ["", "imagesTr", "imagesTr/bob_0000.nii.gz", "labelsTr/bob.nii.gz"])
@pytest.mark.parametrize("stage", ["preprocess", "train"])
def test_data_that_are_gone_between_stages_are_named(
    trained: ExperimentSettings, caplog: pytest.LogCaptureFixture, stage: str, gone: str
) -> None:
    path = raw(trained, gone)
    aside = Path(trained.data_root).parent / "aside"
    path.rename(aside)
    try:
        with pytest.raises(SegfwError) as refused:
            run(trained, [stage])
    finally:
        aside.rename(path)
    said = "\n".join([*caplog.messages, str(refused.value)])
    assert path.name in said
    run(trained, [stage])


def test_a_case_that_goes_while_others_are_preprocessed_is_named_and_they_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cheap():
        settings = settings_of(tmp_path)
        run(settings, ["fingerprint", "plan"])
        image, aside = raw(settings, "imagesTr/bob_0000.nii.gz"), tmp_path / "aside"
        read = preparation.read_image

        def read_and_lose(paths: tuple[str, ...]) -> object:
            if "ann" in paths[0]:
                image.rename(aside)
            return read(paths)

        with monkeypatch.context() as patch:
            patch.setattr(preparation, "read_image", read_and_lose)
            with pytest.raises(JobError, match=rf"1 of 3 cases failed, the others are done:\n  bob: .*{image}"):
                run(settings, ["preprocess"])
        aside.rename(image)
        run(settings, ["preprocess"])


def test_a_reference_that_goes_while_a_fold_is_trained_costs_no_epoch(
    make_run: Callable[..., FoldRun], io: FoldIO, tmp_path: Path
) -> None:
    def gone(case: str) -> object:
        raise DataError(f"cannot read {case}.nii.gz: there is no such file")

    with pytest.raises(DataError, match=r"c\.nii\.gz: there is no such file"):
        fit_fold(make_run(max_epochs=2), tmp_path, CPU, replace(io, read_reference=gone))
    weights = (tmp_path / "checkpoints" / "last.ckpt").read_bytes()
    assert fit_fold(make_run(max_epochs=2), tmp_path, CPU, io).scores is not None
    assert (tmp_path / "checkpoints" / "last.ckpt").read_bytes() == weights


class Remove(Callback):
    """Remove a folder when the first epoch has begun."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_start(self, *_: object) -> None:
        shutil.rmtree(self.folder)


def test_a_training_whose_outputs_are_removed_ends_at_the_next_epoch_and_makes_no_half_of_them(
    make_run: Callable[..., FoldRun], io: FoldIO, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    told = pytest.raises(ArtefactError, match=r"lost the lock .*it is gone: another command .* its folder was removed")
    with hold(outputs / ".locks" / "run.lock", "the run") as lock, told:
        owned = replace(io, check_ownership=lock.check)
        fit_fold(make_run(max_epochs=2), outputs / "fold_0", CPU, owned, [Remove(outputs)])
    assert not list(outputs.rglob("*.ckpt"))


def test_a_run_folder_that_is_removed_while_it_is_trained(
    trained: ExperimentSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be trained on without its config.yaml would be of no use: nobody knows how it was made."""
    folder = run_folder(Path(trained.output_root).parent)
    aside = folder.with_name("aside")
    shutil.copytree(folder, aside)
    with monkeypatch.context() as patch:
        patch.setattr(curves_log, "write_rows", lambda *_: shutil.rmtree(folder))
        with pytest.raises(
            ArtefactError, match=rf"{folder}/config\.yaml is gone: the run's folder was removed or moved"
        ):
            run_longer(trained)
    assert not list(folder.rglob("*.ckpt"))
    shutil.rmtree(folder)
    aside.rename(folder)
    run(trained, ["train"])
