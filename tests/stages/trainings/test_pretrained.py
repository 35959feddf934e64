"""Weights to begin with are found in each kind of file, and a wrong one is explained."""

import dataclasses
import pickle

import pytest
import safetensors.torch
import torch

from segfw.core.errors import ArtefactError, UsageError
from segfw.core.settings.training import PretrainedSettings
from segfw.core.support.files import write_text
from segfw.inference.bundle import save_bundle, save_zip
from segfw.interop.nnunet_export import write_trained_model
from segfw.stages.trainings.pretrained import check_pretrained, read_pretrained
from segfw.stages.trainings.runs import _pretrained_hash
from segfw.workspace import to_yaml
from tests.inference.tiny_model import make_bundle, make_plan
from tests.training.conftest import make_plan as tiny_plan


@pytest.fixture(scope="module")
def model():
    return make_bundle(make_plan())


def read(path, configuration="3d_fullres", fold=0, **changes):
    settings = PretrainedSettings(path=str(path), **changes)
    check_pretrained(settings)
    return read_pretrained(settings, configuration, fold)


def same(weights, member):
    return weights.keys() == member.weights.keys() and all(torch.equal(weights[k], member.weights[k]) for k in weights)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_packaged_model_gives_the_member_like_the_fold(model, tmp_path, kind):
    save_bundle(tmp_path / "m", model)
    save_zip(tmp_path / "m.zip", tmp_path / "m")
    path = tmp_path / ("m" if kind == "folder" else "m.zip")
    first, whole, flat = model.members
    assert same(read(path).weights, first)
    assert same(read(path, fold="full").weights, whole)
    assert same(read(path, fold=4).weights, first)
    assert same(read(path, "2d", fold=1).weights, flat)
    assert read(path).labels == model.plan.labels
    assert read(path).title.endswith("(3d_fullres fold 0)")


def test_which_member_can_be_said(model, tmp_path):
    save_bundle(tmp_path / "m", model)
    chosen = read_pretrained(PretrainedSettings(path=str(tmp_path / "m"), configuration="2d", fold=3), "3d_fullres", 0)
    assert same(chosen.weights, model.members[2])
    with pytest.raises(UsageError, match=r"pretrained\.fold: 2d of the model has the folds \[3\], got 1"):
        read_pretrained(PretrainedSettings(path=str(tmp_path / "m"), configuration="2d", fold=1), "3d_fullres", 0)
    for settings, configuration in (({"configuration": "3d_lowres"}, "2d"), ({}, "3d_lowres")):
        with pytest.raises(UsageError, match=r"pretrained\.configuration: the model has \['3d_fullres', '2d'\]"):
            read_pretrained(PretrainedSettings(path=str(tmp_path / "m"), **settings), configuration, 0)


def test_tensors_alone_state_no_labels(model, tmp_path):
    safetensors.torch.save_file(dict(model.members[0].weights), tmp_path / "w.safetensors")
    found = read(tmp_path / "w.safetensors")
    assert same(found.weights, model.members[0])
    assert found.labels is None
    (tmp_path / "w.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ArtefactError, match=r"w\.safetensors holds no safetensors"):
        read(tmp_path / "w.safetensors")


def test_a_checkpoint_in_its_run_knows_its_labels(tmp_path, model):
    path = tmp_path / "fold_0/checkpoints/last.ckpt"
    path.parent.mkdir(parents=True)
    state = {f"network.{name}": value for name, value in model.members[0].weights.items()}
    torch.save({"state_dict": state, "epoch": 3}, path)
    assert read(path).labels is None
    assert same(read(path).weights, model.members[0])
    run = {
        "plan": tiny_plan(), "configuration_name": "3d_fullres", "fold": 0, "train_cases": ["a"], "val_cases": ["b"],
        "store": "s",
    }  # fmt: skip
    write_text(tmp_path / "fold_0/config.yaml", to_yaml({"run": run}))
    assert read(path).labels == tiny_plan().labels
    with pytest.raises(UsageError, match=rf"did you mean pretrained\.path={path}\?"):
        read(tmp_path / "fold_0")


@pytest.mark.parametrize(
    ("content", "message"),
    [({"epoch": 1}, "holds no state_dict"), ({"state_dict": {"model.w": torch.ones(1)}}, "no tensor in it is the")],
)
def test_a_foreign_checkpoint_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(ArtefactError, match=message):
        read(tmp_path / "x.ckpt")


def test_nothing_is_ever_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return pytest.fail, ("unpickled",)

    for name in ("x.ckpt", "x.pth", "x.safetensors", "x.zip"):
        (tmp_path / name).write_bytes(pickle.dumps(Payload()))
        with pytest.raises(ArtefactError):
            read(tmp_path / name)
    torch.save({"state_dict": Payload()}, tmp_path / "x.ckpt")
    with pytest.raises(ArtefactError, match="cannot be read"):
        read(tmp_path / "x.ckpt")


def test_nnunets_checkpoint(model, tmp_path):
    write_trained_model(dataclasses.replace(model, members=model.members[:1]), tmp_path / "theirs")
    found = read(tmp_path / "theirs/fold_0/checkpoint_final.pth")
    assert same(found.weights, model.members[0])
    assert found.labels is None
    with pytest.raises(UsageError, match=r"holds no model\.yaml.*did you mean .*fold_0/checkpoint_final\.pth\?"):
        read(tmp_path / "theirs")


def test_what_is_no_kind_of_weights_is_said(tmp_path):
    check_pretrained(PretrainedSettings())
    with pytest.raises(UsageError, match=r"pretrained\.path: there is no file or folder .*nowhere"):
        read(tmp_path / "nowhere")
    (tmp_path / "w.h5").write_bytes(b"")
    with pytest.raises(UsageError, match=r"w\.h5 must end in one of \['\.zip', '\.ckpt', '\.pth', '\.safetensors'\]"):
        read(tmp_path / "w.h5")


def test_the_hash_changes_with_the_weights_not_with_the_place(model, tmp_path):
    assert _pretrained_hash(PretrainedSettings()) is None
    save_bundle(tmp_path / "m", model)
    save_bundle(tmp_path / "n", model)
    first = _pretrained_hash(PretrainedSettings(path=str(tmp_path / "m")))
    assert first == _pretrained_hash(PretrainedSettings(path=str(tmp_path / "n")))
    save_bundle(tmp_path / "n", dataclasses.replace(model, members=model.members[:1]))
    assert first != _pretrained_hash(PretrainedSettings(path=str(tmp_path / "n")))
    with pytest.raises(UsageError, match=r"there is no file .*gone\.pth, which the training begins \(or began\) with"):
        _pretrained_hash(PretrainedSettings(path=str(tmp_path / "gone.pth")))


def test_a_tilde_in_the_path_is_a_name(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_bundle(tmp_path / "~T", model)
    assert same(read("~T").weights, model.members[0])
    assert _pretrained_hash(PretrainedSettings(path="~T"))
    with pytest.raises(UsageError, match=rf"no file or folder {tmp_path}/~/w\.pth \(~ is a name"):
        read("~/w.pth")
