"""Networks of members: their arguments, code of others, and cutting."""

import dataclasses
import sys

import numpy as np
import pytest
import yaml

from segfw.core.errors import UsageError
from segfw.core.settings.schema import InferenceSettings, NetworkSettings
from segfw.core.types import Volume
from segfw.inference.bundle import Member, Provenance, load_bundle, save_bundle
from segfw.inference.predictor import CasePredictor
from segfw.nn.build import build_network

OWN = NetworkSettings("mine", "tests.nn.own.MyNet", {"width": 3})
VOLUME = Volume(np.random.default_rng(0).normal(size=(2, 8, 8, 8)).astype(np.float32), (1.0, 1.0, 2.0))


def model_of(bundle, network: NetworkSettings):
    weights = build_network(bundle.plan.configuration("3d_fullres"), 2, 3, False, network).state_dict()
    member = Member("3d_fullres", 0, network.name, weights, network.target, network.arguments)
    return dataclasses.replace(bundle, members=(member,))


@pytest.fixture
def own(bundle, tmp_path):
    save_bundle(tmp_path / "model", model_of(bundle, OWN))
    return load_bundle(tmp_path / "model")


def test_an_own_network_is_imported_only_on_trust(own, monkeypatch):
    assert own.members[0].settings == OWN
    monkeypatch.delitem(sys.modules, "tests.nn.own", raising=False)
    with pytest.raises(UsageError, match=r"network is tests\.nn\.own\.MyNet, code .* inference\.trust_code=true"):
        CasePredictor(own, "cpu")
    assert "tests.nn.own" not in sys.modules
    assert CasePredictor(own, "cpu", trust_code=True).predict(VOLUME).segmentation.shape == (8, 8, 8)


def test_a_missing_import_is_named(own):
    member = dataclasses.replace(own.members[0], target="not_installed_here.MyNet")
    with pytest.raises(UsageError, match=r"not_installed_here\.MyNet': ModuleNotFoundError: No module named"):
        CasePredictor(dataclasses.replace(own, members=(member,)), "cpu", trust_code=True)


def test_models_written_before_networks_had_arguments_are_read(bundle, tmp_path):
    save_bundle(tmp_path / "model", bundle)
    path = tmp_path / "model" / "model.yaml"
    plain = yaml.safe_load(path.read_text())
    for entry in plain["members"]:
        del entry["target"], entry["arguments"]
    for key in ("depth", "uncertainty", "samples", "seed"):
        del plain["inference"][key]
    path.write_text(yaml.safe_dump(plain, sort_keys=False))
    loaded = load_bundle(tmp_path / "model")
    assert loaded.inference == bundle.inference
    assert [member.settings for member in loaded.members] == [NetworkSettings("unet")] * 3


def test_a_nested_network_is_cut(bundle):
    model = model_of(bundle, NetworkSettings("unet_plus_plus"))
    assert CasePredictor(model, "cpu", InferenceSettings(depth=1)).predict(VOLUME).segmentation.shape == (8, 8, 8)
    with pytest.raises(UsageError, match="between 1 and 1 for this model, got 2"):
        CasePredictor(model, "cpu", InferenceSettings(depth=2))
    alone = Provenance(settings={"loss": {"deep_supervision": False}})
    with pytest.raises(UsageError, match="trained at its full depth only"):
        CasePredictor(dataclasses.replace(model, provenance=alone), "cpu", InferenceSettings(depth=1))
    with pytest.raises(UsageError, match=r"inference\.depth=1 cuts a unet_plus_plus"):
        CasePredictor(bundle, "cpu", InferenceSettings(depth=1))


def test_another_network_is_no_unet_plus_plus_whatever_its_supervision(bundle):
    trained = Provenance(settings={"loss": {"deep_supervision": False}})
    vnet = dataclasses.replace(model_of(bundle, NetworkSettings("vnet")), provenance=trained)
    with pytest.raises(UsageError, match=r"inference\.depth=1 cuts a unet_plus_plus; this model is another network"):
        CasePredictor(vnet, "cpu", InferenceSettings(depth=1))
