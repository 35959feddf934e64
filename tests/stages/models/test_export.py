"""Verb `export`: what is written, and what is never overwritten."""

import dataclasses
import logging
from pathlib import Path

import pytest
import torch

from segfw.core.errors import UsageError
from segfw.core.scoring.postprocessing import Step
from segfw.core.settings.verbs import ExportSettings
from segfw.inference.bundle import load_bundle, save_bundle
from segfw.stages.models import export
from tests.inference.tiny_model import make_bundle, make_plan


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.fixture
def model(tmp_path):
    whole = make_bundle(make_plan())
    save_bundle(tmp_path / "my.model", dataclasses.replace(whole, members=whole.members[:2]))
    return tmp_path / "my.model"


def settings(model, form, output, overwrite=False):
    return ExportSettings(model=str(model), format=form, output=str(output), overwrite=overwrite)


def test_a_zip_is_the_model_and_tells_its_checksum(model, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    export.run(settings(model, "zip", tmp_path / "shared.zip"))
    assert len(load_bundle(tmp_path / "shared.zip").members) == 2
    assert "model_sha256=" in caplog.text
    (tmp_path / "folder").mkdir()
    export.run(settings(model, "zip", tmp_path / "folder"))
    assert (tmp_path / "folder/my.model.zip").read_bytes() == (tmp_path / "shared.zip").read_bytes()


def test_what_is_there_is_replaced_only_on_demand(model, tmp_path):
    target = tmp_path / "shared.zip"
    target.write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"shared\.zip is there already; overwrite=true replaces it"):
        export.run(settings(model, "zip", target))
    assert target.read_bytes() == b"mine"
    export.run(settings(model, "zip", target, overwrite=True))
    assert load_bundle(target).members
    with pytest.raises(UsageError, match=r"name ends in \.zip.*got .*shared\.model"):
        export.run(settings(model, "zip", tmp_path / "shared.model"))


def test_nnunet_is_told_to_lack_the_postprocessing(model, tmp_path, caplog):
    steps = (Step("keep_largest", (1,)),)
    save_bundle(tmp_path / "other", dataclasses.replace(load_bundle(model), postprocessing=steps))
    export.run(settings(tmp_path / "other", "nnunet", tmp_path / "theirs"))
    assert "nnU-Net will leave it out: of a only the largest connected component is kept" in caplog.text


def test_nnunet_gets_its_folder_and_its_command(model, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    export.run(settings(model, "nnunet", tmp_path / "theirs"))
    names = {path.relative_to(tmp_path / "theirs").as_posix() for path in (tmp_path / "theirs").rglob("*.*")}
    wanted = {f"fold_{fold}/checkpoint_final.pth" for fold in ("0", "all")}
    assert names == {"plans.json", "dataset.json", *wanted}
    assert f"nnUNetv2_predict_from_modelfolder -i IN -o OUT -m {tmp_path / 'theirs'} -f 0 all" in caplog.text
    with pytest.raises(UsageError, match="overwrite=true replaces an earlier export"):
        export.run(settings(model, "nnunet", tmp_path / "theirs"))
    export.run(settings(model, "nnunet", tmp_path / "theirs", overwrite=True))


@pytest.mark.parametrize("form", ["onnx", "nnunet"])
def test_a_folder_of_other_things_is_never_replaced(model, tmp_path, form):
    folder = tmp_path / "precious"
    (folder / "fold_0").mkdir(parents=True)
    with pytest.raises(UsageError, match="precious is not of an earlier export"):
        export.run(settings(model, form, folder, overwrite=True))
    (folder / "fold_0/checkpoint_final.pth").write_bytes(b"weeks of work")
    (folder / "plans.json").write_text("{}")
    (folder / "progress.png").write_bytes(b"curves")
    with pytest.raises(UsageError, match="is not of an earlier export of this format"):
        export.run(settings(model, form, folder, overwrite=True))
    assert (folder / "fold_0/checkpoint_final.pth").read_bytes() == b"weeks of work"


def test_a_failed_export_leaves_nothing(model, tmp_path, monkeypatch):
    def fail(bundle, folder, trust_code):
        folder.mkdir()
        (folder / "half.onnx").write_bytes(b"half")
        raise UsageError("no")

    monkeypatch.setattr(export, "export_onnx", fail)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(UsageError, match="no"):
        export.run(settings(model, "onnx", tmp_path / "out"))
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.fixture
def onnx(monkeypatch):
    """Let the export for onnxruntime be one file that holds the text it is called with."""

    def call(model, output, text, overwrite=False):
        def write(bundle, folder, trust_code):
            folder.mkdir()
            (folder / "model.json").write_text(text)
            return {}

        monkeypatch.setattr(export, "export_onnx", write)
        export.run(settings(model, "onnx", output, overwrite))

    return call


def test_what_killed_exports_left_is_removed(model, tmp_path, onnx):
    for name in ("out", "shared.zip"):
        (tmp_path / f".tmp-0123abcd-{name}").mkdir()
    onnx(model, tmp_path / "out", "new")
    export.run(settings(model, "zip", tmp_path / "shared.zip"))
    assert {path.name for path in tmp_path.iterdir()} == {"my.model", "out", "shared.zip"}


@pytest.mark.parametrize("renamed", [1, 2, 3])
def test_a_kill_while_an_export_is_replaced_loses_neither(model, tmp_path, monkeypatch, onnx, renamed):
    """After `renamed` of: the old one aside, the new one in, the old one to what is removed."""
    output = tmp_path / "out"
    onnx(model, output, "old")
    rename, done = Path.rename, []

    def killed(path, target):
        if len(done) == renamed:
            raise Killed
        done.append(target)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    monkeypatch.setattr(export.shutil, "rmtree", lambda *_, **__: None)
    if renamed < 3:
        with pytest.raises(Killed):
            onnx(model, output, "new", overwrite=True)
    else:
        onnx(model, output, "new", overwrite=True)
    monkeypatch.undo()
    with pytest.raises(UsageError, match="out is there already"):
        export.run(settings(model, "onnx", output))
    assert (output / "model.json").read_text() == ("old" if renamed == 1 else "new")
    assert {path.name for path in tmp_path.iterdir()} == {"my.model", "out"}


def test_a_new_export_that_cannot_take_the_name_leaves_the_old(model, tmp_path, monkeypatch, onnx):
    onnx(model, tmp_path / "out", "old")
    rename = Path.rename

    def refused(path, target):
        if path.name.startswith(".tmp-"):
            raise OSError("no")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(OSError, match="no"):
        onnx(model, tmp_path / "out", "new", overwrite=True)
    assert (tmp_path / "out/model.json").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"my.model", "out"}


def test_an_onnx_folder_names_its_differences(model, tmp_path, monkeypatch, caplog):
    def write(bundle, folder, trust_code):
        folder.mkdir()
        (folder / "model.json").write_text("{}")
        return {"3d_fullres_fold_0.onnx": 2e-6}

    monkeypatch.setattr(export, "export_onnx", write)
    caplog.set_level(logging.INFO)
    export.run(settings(model, "onnx", tmp_path / "out"))
    assert "3d_fullres_fold_0.onnx differs from PyTorch by 2.0e-06 at most (1e-03 allowed)" in caplog.text
    assert "lacks" not in caplog.text
    monkeypatch.setattr(export, "needs", lambda bundle: ["2D windows", "a coarse axis"])
    export.run(settings(model, "onnx", tmp_path / "out", overwrite=True))
    assert "needs what the example lacks: 2D windows, a coarse axis; see model.json" in caplog.text
    assert torch.is_tensor(load_bundle(model).members[0].weights["decoder.seg_layers.0.bias"])


def test_a_tilde_in_the_output_is_a_name(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export.run(settings(model, "zip", "~T.zip"))
    assert load_bundle(tmp_path / "~T.zip").members
