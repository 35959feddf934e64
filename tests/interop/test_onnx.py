"""Exported networks are those of PyTorch for any batch, and the JSON beside them says what surrounds them."""

import dataclasses
import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from segfw.core.errors import JobError, UsageError
from segfw.core.labels import LabelSet
from segfw.core.plan import Resampling
from segfw.core.scoring.postprocessing import Step
from segfw.inference.bundle import Member
from segfw.inference.predictor import load_network
from segfw.interop import onnx as export
from segfw.interop.onnx import describe, export_onnx, needs
from segfw.nn.build import build_network, initialize
from tests.inference.tiny_model import make_bundle, make_plan, tiny_configuration


@pytest.fixture(scope="module")
def residual_2d():
    """A residual 2D member: the plain 3D one is exported by the example's test."""
    configuration = dataclasses.replace(tiny_configuration(2), architecture="residual_unet")
    network = build_network(configuration, 2, 3)
    initialize(network, 5)
    return configuration, Member("2d", 3, "residual_unet", network.state_dict())


@pytest.fixture(scope="module")
def exported(residual_2d, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx") / "model"
    model = small_bundle(*residual_2d)
    return model, folder, export_onnx(model, folder)


def small_bundle(configuration, member):
    whole = make_bundle(make_plan())
    own = dataclasses.replace(whole.plan, configurations={"2d": configuration})
    return dataclasses.replace(whole, plan=own, members=(member,))


def test_logits_are_those_of_pytorch_for_any_batch(exported):
    model, folder, differences = exported
    (difference,) = differences.values()
    assert 0 < difference < 1e-4
    session = onnxruntime.InferenceSession(folder / "2d_fold_3.onnx")
    image = torch.randn(5, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = load_network(model.plan, model.members[0]).eval()(image)
    np.testing.assert_allclose(session.run(None, {"image": image.numpy()})[0], expected, atol=1e-4)


def test_the_description_names_what_surrounds_the_network(exported):
    _, folder, _ = exported
    assert sorted(path.name for path in folder.iterdir()) == ["2d_fold_3.onnx", "model.json"]
    described = json.loads((folder / "model.json").read_text())
    assert described["heads"] == [
        {"name": "background", "values": [0]}, {"name": "a", "values": [1]}, {"name": "b", "values": [2]},
    ]  # fmt: skip
    assert (described["channels"], described["regions_class_order"]) == (["T1", "mask"], None)
    assert (described["transpose_forward"], described["transpose_backward"]) == ([2, 0, 1], [1, 2, 0])
    assert (described["mirror_axes"], described["step_size"]) == ([0, 1, 2], 0.5)
    configuration = described["configurations"]["2d"]
    assert (configuration["spacing"], configuration["patch_size"]) == ([1.5, 1.0], [8, 8])
    assert [channel["scheme"] for channel in configuration["normalization"]] == ["zscore", "nonorm"]
    assert configuration["resampling"]["order_image"] == 3
    assert (configuration["before"], configuration["after"]) == (None, None)
    assert configuration["mirrorings"] == [[], [2], [3], [2, 3]]
    assert configuration["window_weights"][1][3:6] == pytest.approx([np.exp(-0.5), 1, np.exp(-0.5)])
    assert described["needs"] == ["2D windows"]
    assert [(m["configuration"], m["fold"]) for m in described["members"]] == [("2d", 3)]


def test_ct_statistics_and_the_order_of_regions_are_given(exported):
    model, *_ = exported
    labels = LabelSet({"background": 0, "whole": (1, 2), "core": (2,)}, (1, 2))
    configuration = dataclasses.replace(model.plan.configuration("2d"), normalization_schemes=("ct", "nonorm"))
    changed = dataclasses.replace(model.plan, labels=labels, configurations={"2d": configuration})
    described = describe(dataclasses.replace(model, plan=changed), [])
    assert [head["name"] for head in described["heads"]] == ["whole", "core"]
    assert described["regions_class_order"] == [1, 2]
    assert described["configurations"]["2d"]["normalization"][0] == {
        "scheme": "ct", "use_mask": False, "mean": 0.0, "std": 1.0, "percentile_00_5": -1.0, "percentile_99_5": 1.0,
    }  # fmt: skip


def test_nothing_tells_where_it_was_made(exported):
    _, folder, _ = exported
    for path in folder.iterdir():
        content = path.read_bytes()
        for word in (str(folder.parent), export.__file__.rpartition("/")[0], sys.prefix):
            assert word.encode() not in content


def test_notes_are_removed_however_deep_they_lie(tmp_path):
    make = onnx.helper
    inner = make.make_node("Identity", ["x"], ["y"], doc_string="/secret/a.py")
    branch = make.make_graph([inner], "branch", [], [make.make_tensor_value_info("y", 1, [1])], doc_string="/secret/b")
    node = make.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)
    inputs = [make.make_tensor_value_info("c", 9, []), make.make_tensor_value_info("x", 1, [1])]
    graph = make.make_graph([node], "g", inputs, [make.make_tensor_value_info("z", 1, [1])])
    opsets = [make.make_opsetid("", 17), make.make_opsetid("own", 1)]
    function = make.make_function("own", "f", ["a"], ["b"], [make.make_node("Relu", ["a"], ["b"])], opsets[:1])
    function.node[0].metadata_props.add(key="trace", value="/secret/c.py")
    model = make.make_model(graph, functions=[function], opset_imports=opsets, doc_string="/secret/d", ir_version=10)
    onnx.save(model, str(tmp_path / "m.onnx"))
    export._forget_origin(onnx, tmp_path / "m.onnx")
    assert b"secret" not in (tmp_path / "m.onnx").read_bytes()
    kept = onnx.load(str(tmp_path / "m.onnx"))
    assert kept.graph.node[0].attribute[0].g.node[0].op_type == "Identity"
    assert kept.functions[0].node[0].op_type == "Relu"


def test_a_network_that_differs_is_refused(exported, tmp_path, monkeypatch):
    model, *_ = exported
    monkeypatch.setattr(export, "_write", lambda network, shape, path: path.write_bytes(b""))
    monkeypatch.setattr(export, "_forget_origin", lambda package, path: None)
    monkeypatch.setattr(export, "largest_difference", lambda *arguments: 0.25)
    with pytest.raises(JobError, match=r"2d_fold_3\.onnx: .*differ from PyTorch's by 2\.5e-01, allowed is 1e-03"):
        export_onnx(model, tmp_path)
    monkeypatch.setattr(export, "largest_difference", lambda *arguments: float("nan"))
    with pytest.raises(JobError, match="by nan"):
        export_onnx(model, tmp_path)


def test_without_the_packages_the_pip_line_is_given(exported, tmp_path, monkeypatch):
    model, *_ = exported
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UsageError, match=r"needs the package onnxscript.*pip install \"segfw\[onnx\]\""):
        export_onnx(model, tmp_path)


@pytest.mark.parametrize(
    ("change", "needed"),
    [
        ({}, []),
        ({"use_mask_for_norm": (True, False)}, ["normalization inside a mask"]),
        ({"spacing": (1.0, 3.5, 1.0)}, ["a coarse axis resampled apart"]),
        ({"resampling": Resampling(force_separate_z=True)}, ["a coarse axis resampled apart"]),
        ({"spacing": (1.0, 3.5, 1.0), "resampling": Resampling(force_separate_z=False)}, []),
        ({"resampling": Resampling(order_image=2)}, ["splines of another order than 1 and 3"]),
    ],
)
def test_what_a_program_must_be_able_to_do_is_listed(change, needed):
    whole = make_bundle(make_plan())
    plain = dataclasses.replace(whole.plan.configuration("3d_fullres"), use_mask_for_norm=(False, False))
    plan = dataclasses.replace(whole.plan, configurations={"3d_fullres": dataclasses.replace(plain, **change)})
    assert needs(dataclasses.replace(whole, plan=plan, members=whole.members[:1])) == needed


def test_postprocessing_is_described_and_needed():
    plain = make_bundle(make_plan())
    model = dataclasses.replace(plain, members=plain.members[:1], postprocessing=(Step("keep_largest", (1,)),))
    assert needs(model) == [*needs(dataclasses.replace(model, postprocessing=())), "postprocessing"]
    assert describe(model, [])["postprocessing"] == [
        {"operation": "keep_largest", "values": [1], "fill": None, "minimum_mm3": None}
    ]


def test_several_configurations_and_many_labels_are_listed():
    assert needs(make_bundle(make_plan())) == ["2D windows", "several configurations"]
    labels = LabelSet({"background": 0} | {f"l{value}": value for value in range(1, 257)})
    whole = make_bundle(make_plan())
    plan = dataclasses.replace(whole.plan, labels=labels)
    assert needs(dataclasses.replace(whole, plan=plan, members=whole.members[:1])) == ["labels above 255"]
