"""What the second stage of a cascade is given."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from torch import nn

from segfw.core.errors import UsageError
from segfw.core.imaging.preprocessing import preprocess_case
from segfw.core.types import Volume
from segfw.inference.bundle import Member, load_bundle, refuse_cascade, save_bundle
from segfw.inference.cascade import FedNetwork, append_one_hot
from segfw.inference.predictor import CasePredictor
from segfw.inference.restoring import restore_segmentation, segment_for_next_stage
from segfw.inference.sliding_window import predict_logits
from segfw.nn.build import build_network, initialize

CASCADE = "3d_cascade_fullres"


def test_one_channel_per_label_and_none_for_background_and_outside():
    image = torch.tensor([[[0.5, 1.5, 2.5, 3.5]]])
    segmentation = torch.tensor([[[-1, 0, 3, 1]]], dtype=torch.int16)
    expected = [[[0.5, 1.5, 2.5, 3.5], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0]]]
    assert append_one_hot(image, segmentation, (1, 2, 3)).tolist() == expected


def test_a_fed_network_takes_the_label_map_as_last_channel():
    windows = torch.tensor([[[0.5, 1.5], [2.0, 0.0]]])
    assert FedNetwork(nn.Identity(), (1, 2))(windows).tolist() == [[[0.5, 1.5], [0, 0], [1, 0]]]


@pytest.fixture
def cascade(bundle):
    """Folds 0 and 1 of a first stage, folds 0 and `full` of a second; two channels and two labels."""
    full = bundle.plan.configuration("3d_fullres")
    stages = {
        "3d_lowres": dataclasses.replace(full, spacing=(1.5, 2.5, 1.5), next_stage=CASCADE),
        CASCADE: dataclasses.replace(full, previous_stage="3d_lowres"),
    }
    plan = dataclasses.replace(bundle.plan, configurations=stages)
    members = []
    for seed, (name, fold) in enumerate([(CASCADE, 0), (CASCADE, "full"), ("3d_lowres", 0), ("3d_lowres", 1)]):
        network = build_network(stages[name], 4 if name == CASCADE else 2, 3)
        initialize(network, seed)
        members.append(Member(name, fold, "unet", network.state_dict()))
    return dataclasses.replace(bundle, plan=plan, members=tuple(members))


def test_the_first_stage_feeds_the_second_and_has_no_vote(cascade):
    array = np.random.default_rng(0).normal(size=(2, 9, 12, 11)).astype(np.float32)
    volume = Volume(array, (1.2, 1.0, 2.0))
    one = dataclasses.replace(cascade, members=(cascade.members[0], cascade.members[2]))
    plan, networks = cascade.plan, []
    for member, inputs in zip(one.members, (4, 2), strict=True):
        network = build_network(plan.configuration(member.configuration), inputs, 3, deep_supervision=False)
        network.load_state_dict(member.weights)
        networks.append(network)
    fine, coarse = (preprocess_case(volume, None, plan, plan.configuration(name)) for name in (CASCADE, "3d_lowres"))
    how = (8, 8, 8), one.inference, (0, 1, 2), 3
    logits = predict_logits(networks[1], torch.from_numpy(coarse.image), *how)
    lowres, shape = plan.configuration("3d_lowres"), fine.record.resampled_shape
    previous = segment_for_next_stage(logits, coarse.record, plan, lowres, shape)
    assert len(np.unique(previous)) > 1
    hot = np.stack([previous == value for value in (1, 2)]).astype(np.float32)
    logits = predict_logits(networks[0], torch.from_numpy(np.concatenate([fine.image, hot])), *how)
    expected = restore_segmentation(logits, fine.record, plan, plan.configuration(CASCADE))
    np.testing.assert_array_equal(CasePredictor(one, "cpu").predict(volume).segmentation, expected)


def test_folds_are_chosen_of_both_stages_where_both_have_them(cascade, tmp_path):
    save_bundle(tmp_path, cascade)

    def members(folds):
        return [(member.configuration, member.fold) for member in load_bundle(tmp_path, folds).members]

    assert members([0]) == [(CASCADE, 0), ("3d_lowres", 0)]
    assert members(["full"]) == [(CASCADE, "full"), ("3d_lowres", 0), ("3d_lowres", 1)]
    with pytest.raises(UsageError, match=re.escape(f"the model has no fold 1; its folds are {CASCADE}: 0, full")):
        load_bundle(tmp_path, [1])
    assert "takes the segmentation of `3d_lowres`" in (tmp_path / "README.md").read_text()


def test_a_second_stage_alone_is_no_model(cascade):
    with pytest.raises(UsageError, match=f"{CASCADE}' takes the segmentation of '3d_lowres' as input, of which the"):
        dataclasses.replace(cascade, members=cascade.members[:2])


def test_formats_of_single_networks_refuse_a_cascade(cascade):
    with pytest.raises(UsageError, match=f"format=onnx cannot hold a cascade: {CASCADE} takes the segmentation of"):
        refuse_cascade(cascade, "onnx")
    refuse_cascade(dataclasses.replace(cascade, members=cascade.members[2:]), "onnx")


def test_one_opinion_of_the_last_stage_cannot_disagree(cascade):
    one = dataclasses.replace(cascade, members=(cascade.members[0], *cascade.members[2:]))
    settings = dataclasses.replace(one.inference, uncertainty=True)
    with pytest.raises(UsageError, match="this model is one fold of unet"):
        CasePredictor(one, "cpu", settings)
