"""The verb import: from nnU-Net's trained model to one that predict takes."""

import logging
from contextlib import contextmanager

import pytest

from segfw.__main__ import main
from segfw.core.errors import ArtefactError, UsageError
from segfw.core.settings.verbs import ImportSettings
from segfw.inference.bundle import load_bundle, save_bundle
from segfw.stages.models import import_model
from segfw.stages.models.import_model import run
from tests.interop.nnunet_files import write_model


@pytest.fixture
def source(tmp_path):
    return write_model(tmp_path / "nnunet", folds=(0, 1, "all"))


def settings(source, output, **changes):
    return ImportSettings(str(source), str(output), **changes)


def test_what_was_read_is_told_and_written(source, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        run(settings(source, tmp_path / "model"))
    bundle = load_bundle(tmp_path / "model")
    assert [member.fold for member in bundle.members] == [0, 1]
    count = sum(tensor.numel() for tensor in bundle.members[0].weights.values())
    for line in (
        "Dataset900_Tiny, trained by nnUNetTrainer (final checkpoint)",
        f"3d_fullres: unet of {count} parameters, patch 4 x 8 x 8, folds 0, 1",
        "channels: T1, mask",
        "labels: background 0, a 1, b 2",
        "mirrored in training along [0, 1, 2]",
        "fold_all is left out",
        f"wrote {tmp_path / 'model'}",
    ):
        assert line in caplog.text
    text = (tmp_path / "model" / "model.yaml").read_text()
    assert str(tmp_path) not in text
    assert "nnunet/" not in text


@pytest.mark.parametrize(("folds", "wanted"), [(1, [1]), ("full", ["full"]), (("full", 0), ["full", 0])])
def test_folds_are_chosen(source, tmp_path, folds, wanted):
    run(settings(source, tmp_path / "model", folds=folds))
    assert [member.fold for member in load_bundle(tmp_path / "model").members] == wanted


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ("all", "what nnU-Net calls all is called full here: folds=full"),
        ("cv", "folds must be a fold, full, or a list .* got 'cv'"),
        (-1, "got -1"),
        (True, "got True"),
        ((), r"at least one fold, got \[\]"),
    ],
)
def test_senseless_folds_are_refused(source, tmp_path, folds, message):
    with pytest.raises(UsageError, match=message):
        run(settings(source, tmp_path / "model", folds=folds))


def test_a_model_is_replaced_only_on_request_and_anything_else_never(source, tmp_path):
    output = tmp_path / "model"
    run(settings(source, output))
    with pytest.raises(UsageError, match=r"model holds a model; .* overwrite=true"):
        run(settings(source, output, folds=1))
    run(settings(source, output, folds=1, overwrite=True))
    assert [member.fold for member in load_bundle(output).members] == [1]
    with pytest.raises(UsageError, match="exists and is no model"):
        run(settings(source, source, overwrite=True))
    with pytest.raises(UsageError, match="exists and is no model"):
        run(settings(source, source / "plans.json", overwrite=True))


def test_a_refused_source_leaves_nothing_behind(source, tmp_path):
    (source / "fold_1" / "checkpoint_final.pth").write_bytes(b"")
    with pytest.raises(ArtefactError, match=r"fold_1.checkpoint_final\.pth is refused: it is no whole file"):
        run(settings(source, tmp_path / "model"))
    assert not (tmp_path / "model").exists()


def test_the_command_line(source, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["import", f"source={source}"]) == 2
    assert "import needs output=, as in: python -m segfw import source=" in capsys.readouterr().err
    assert main(["import", f"source={source}", "output=a model", "configuration=2d"]) == 2
    assert "source holds no model '2d'" in capsys.readouterr().err
    assert main(["import", f"source={source.parent}", "output=a model", "configuration=[3d_fullres]", "folds=[0]"]) == 0
    assert (tmp_path / "a model" / "model.yaml").is_file()
    (source / "plans.json").write_text("{}")
    assert main(["import", f"source={source}", "output=b"]) == 1
    assert "plans.json: the key 'plans_name' is missing" in capsys.readouterr().err


def test_the_next_command_can_be_copied_whatever_the_folder_is_called(source, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        run(settings(source, tmp_path / "my model"))
    assert f"predict model='{tmp_path}/my model' input=PATH" in caplog.text


def test_two_imports_into_one_folder_take_turns(source, tmp_path, monkeypatch):
    """The second may begin before the first has written; it must not mix its members into the other's model."""
    output, hold = tmp_path / "model", import_model.hold

    @contextmanager
    def hold_after_another(path, what):
        monkeypatch.setattr(import_model, "hold", hold)
        run(settings(source, output, folds=1))
        with hold(path, what) as lock:
            yield lock

    monkeypatch.setattr(import_model, "hold", hold_after_another)
    with pytest.raises(UsageError, match="holds a model"):
        run(settings(source, output, folds=0))
    assert [member.fold for member in load_bundle(output).members] == [1]
    assert not (tmp_path / ".model.lock").exists()


def test_an_import_holds_its_output_while_it_writes(source, tmp_path, monkeypatch):
    def save(folder, bundle):
        assert (tmp_path / ".model.lock").is_file()
        save_bundle(folder, bundle)

    monkeypatch.setattr(import_model, "save_bundle", save)
    run(settings(source, tmp_path / "model"))
    assert load_bundle(tmp_path / "model").members
