"""A packaged model written as nnU-Net's, and read again."""

import json
from dataclasses import replace

import pytest
import torch

from segfw.core.errors import ArtefactError
from segfw.core.settings.schema import InferenceSettings
from segfw.inference.bundle import Bundle, Member, Provenance, load_bundle, save_bundle
from segfw.interop.model_files import open_files
from segfw.interop.nnunet_export import write_trained_model
from segfw.interop.nnunet_folder import Choice
from segfw.interop.nnunet_model import read_model
from segfw.nn.build import build_network, initialize
from tests.interop.nnunet_files import tiny_plan, tiny_weights

REGIONS = {"background": 0, "whole": (1, 2), "core": 2, "ignore": 3}


def bundle(folds=(0, "full"), configurations=("3d_fullres",), plan=None, network="planned", mirror_axes=(0, 1, 2)):
    plan = plan or tiny_plan()
    members = [
        Member(configuration, fold, network, tiny_weights(configuration, seed, plan.labels.num_heads))
        for configuration in configurations
        for seed, fold in enumerate(folds)
    ]
    return Bundle(plan, tuple(members), mirror_axes, InferenceSettings(), Provenance())


def test_written_and_read_again_it_is_the_same_model(tmp_path):
    model = bundle()
    write_trained_model(model, tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "dataset.json", "fold_0", "fold_all", "plans.json",
    ]  # fmt: skip
    for fold in (0, "full"):
        read = read_model(open_files(tmp_path / "model"), Choice(folds=(fold,))).bundle
        assert replace(read.plan, planner="default") == model.plan
        assert read.mirror_axes == (0, 1, 2)
        (member,) = read.members
        wanted = next(each for each in model.members if each.fold == fold)
        assert all(torch.equal(member.weights[name], wanted.weights[name]) for name in wanted.weights)


def test_the_checkpoint_is_as_nnunet_writes_it(tmp_path):
    save_bundle(tmp_path / "ours", bundle())  # safetensors bring the names into another order
    write_trained_model(load_bundle(tmp_path / "ours"), tmp_path / "model")
    content = torch.load(tmp_path / "model" / "fold_all" / "checkpoint_final.pth", weights_only=True)
    weights = content["network_weights"]
    assert list(weights)[:3] == [
        f"encoder.stages.0.0.convs.0.{name}" for name in ("conv.weight", "conv.bias", "norm.weight")
    ]
    assert weights["decoder.encoder.stages.1.0.convs.0.all_modules.0.weight"].data_ptr() == (
        weights["encoder.stages.1.0.convs.0.conv.weight"].data_ptr()
    )
    assert content["trainer_name"] == "nnUNetTrainer"
    assert content["inference_allowed_mirroring_axes"] == (0, 1, 2)
    arguments = content["init_args"]
    assert (arguments["configuration"], arguments["fold"]) == ("3d_fullres", "all")
    assert arguments["plans"] == json.loads((tmp_path / "model" / "plans.json").read_text())
    assert arguments["dataset_json"]["channel_names"] == {"0": "T1", "1": "mask"}


def test_several_configurations_become_folders_with_the_axes_of_their_windows(tmp_path):
    write_trained_model(bundle(configurations=("2d", "3d_fullres")), tmp_path / "model")
    folders = {name: tmp_path / "model" / f"nnUNetTrainer__nnUNetPlans__{name}" for name in ("2d", "3d_fullres")}
    for name, axes in (("2d", (0, 1)), ("3d_fullres", (0, 1, 2))):
        content = torch.load(folders[name] / "fold_0" / "checkpoint_final.pth", weights_only=True)
        assert content["inference_allowed_mirroring_axes"] == axes
    both = read_model(open_files(tmp_path / "model"), Choice(("2d", "3d_fullres"))).bundle
    assert [member.configuration for member in both.members] == ["2d", "3d_fullres"]
    assert both.mirror_axes == (0, 1, 2)


def test_no_mirroring_is_none_to_nnunet(tmp_path):
    write_trained_model(bundle(mirror_axes=()), tmp_path / "model")
    content = torch.load(tmp_path / "model" / "fold_0" / "checkpoint_final.pth", weights_only=True)
    assert content["inference_allowed_mirroring_axes"] is None


def test_regions_keep_their_order_of_painting(tmp_path):
    plan = tiny_plan()
    plan = replace(plan, labels=type(plan.labels)(REGIONS, (1, 2)))
    write_trained_model(bundle(plan=plan), tmp_path / "model")
    described = json.loads((tmp_path / "model" / "dataset.json").read_text())
    assert described["labels"] == {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    assert described["regions_class_order"] == [1, 2]
    assert read_model(open_files(tmp_path / "model"), Choice()).bundle.plan.labels == plan.labels


def test_a_residual_network_on_a_plain_plan_is_planned_for_nnunet(tmp_path):
    plan = tiny_plan()
    network = build_network(plan.configuration("3d_fullres"), 2, 3, network="residual_unet")
    initialize(network, 0)
    member = Member("3d_fullres", 0, "residual_unet", network.state_dict())
    write_trained_model(replace(bundle(), members=(member,)), tmp_path / "model")
    entry = json.loads((tmp_path / "model" / "plans.json").read_text())["configurations"]["3d_fullres"]
    assert entry["architecture"]["network_class_name"].endswith(".ResidualEncoderUNet")
    (read,) = read_model(open_files(tmp_path / "model"), Choice()).bundle.members
    assert read.network == "residual_unet"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda: bundle(network="vnet"),
            "3d_fullres: nnU-Net has no network 'vnet'; it predicts with unet and residual_unet",
        ),
        (lambda: bundle(network="residual_unet"), "3d_fullres, fold 0: the weights do not fit"),
        (
            lambda: replace(
                bundle(), members=(bundle().members[0], replace(bundle(network="residual_unet").members[1]))
            ),
            r"nnU-Net builds one network for all folds, this model has \['residual_unet', 'unet'\]",
        ),
    ],
)
def test_what_nnunet_cannot_build_is_refused(tmp_path, model, message):
    with pytest.raises(ArtefactError, match=message):
        write_trained_model(model(), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_folder_with_anything_in_it_is_left_alone(tmp_path):
    (tmp_path / "empty").mkdir()
    write_trained_model(bundle(), tmp_path / "empty")
    with pytest.raises(ArtefactError, match="empty is not empty; nnU-Net would predict from every fold"):
        write_trained_model(bundle(), tmp_path / "empty")
