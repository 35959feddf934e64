"""Trained models of nnU-Net become ours or are refused with the reason."""

import json

import numpy as np
import pytest
import torch

from segfw.core.errors import ArtefactError, DataError
from segfw.core.scoring.postprocessing import Step
from segfw.core.support.files import sha256
from segfw.core.types import Volume
from segfw.core.version import __version__
from segfw.inference.bundle import save_bundle
from segfw.inference.predictor import CasePredictor
from tests.interop.nnunet_files import assert_weights, checkpoint, edit, read, tiny_plan, write_model, zipped


def test_a_folder_of_two_folds(tmp_path):
    folder = write_model(tmp_path, folds=(0, 3))
    imported = read(folder)
    bundle = imported.bundle
    assert bundle.plan == tiny_plan()
    assert [(m.configuration, m.fold, m.network) for m in bundle.members] == [
        ("3d_fullres", 0, "unet"), ("3d_fullres", 3, "unet"),
    ]  # fmt: skip
    for seed, member in enumerate(bundle.members):
        assert_weights(member, seed)
    assert bundle.mirror_axes == (0, 1, 2)
    assert imported.notes == ()
    facts = bundle.provenance
    assert facts.settings == {
        "imported_from": "nnU-Net v2", "imported_with": f"segfw {__version__}", "trainer": "nnUNetTrainer",
        "checkpoint": "final",
        "epochs": {"3d_fullres fold 0": 20, "3d_fullres fold 3": 20},
    }  # fmt: skip
    assert facts.made_from["3d_fullres fold 3"] == sha256(folder / "fold_3" / "checkpoint_final.pth")
    assert str(tmp_path) not in repr(facts)


def test_an_imported_model_predicts(tmp_path):
    predictor = CasePredictor(read(write_model(tmp_path)).bundle, "cpu")
    image = np.random.default_rng(0).normal(size=(2, 9, 10, 11)).astype(np.float32)
    prediction = predictor.predict(Volume(image, (1.0, 1.0, 1.0)), probabilities=True)
    assert prediction.segmentation.shape == (9, 10, 11)
    np.testing.assert_allclose(prediction.probabilities.sum(0), 1, atol=1e-5)


def test_several_configurations_become_one_model(tmp_path):
    write_model(tmp_path)
    write_model(tmp_path, "2d")
    bundle = read(tmp_path, "2d", "3d_fullres").bundle
    assert [m.configuration for m in bundle.members] == ["2d", "3d_fullres"]
    assert bundle.mirror_axes == (0, 1, 2)


def test_configurations_that_do_not_belong_together_are_refused(tmp_path):
    write_model(tmp_path, inference_allowed_mirroring_axes=(0, 2))
    two = write_model(tmp_path, "2d")
    with pytest.raises(
        ArtefactError, match=r"one model cannot hold the axes .* along which the configurations were mirrored"
    ):
        read(tmp_path, "2d", "3d_fullres")
    edit(two / "plans.json", lambda plans: plans["configurations"]["2d"].update(batch_size=77))
    with pytest.raises(ArtefactError, match="2d and 3d_fullres were trained by different plans"):
        read(tmp_path, "2d", "3d_fullres")


def test_folds_of_different_configurations_are_refused(tmp_path):
    folder = write_model(tmp_path, folds=(0, 1))
    torch.save(checkpoint("2d"), folder / "fold_1" / "checkpoint_final.pth")
    with pytest.raises(ArtefactError, match=r"mixes checkpoints of \['2d', '3d_fullres'\], one is allowed"):
        read(folder)


def test_the_validation_of_the_folds_comes_along(tmp_path):
    folder = write_model(tmp_path, folds=(0, 1))
    cases = {0: [(0.5, 0.25), (1.0, float("nan"))], 1: [(0.0, 0.75)]}
    for fold, dices in cases.items():
        listed = [{"metrics": {"1": {"Dice": a}, "2": {"Dice": b}}, "prediction_file": "/home/me/x"} for a, b in dices]
        summary = folder / f"fold_{fold}" / "validation" / "summary.json"
        summary.write_text(json.dumps({"metric_per_case": listed}))
    facts = read(folder).bundle.provenance
    assert facts.scores == {"dice": 0.5, "dice/a": 0.5, "dice/b": 0.5}
    assert facts.num_scored == 3
    assert "/home/me" not in repr(facts)
    summary.write_text("{}")
    assert read(folder).bundle.provenance.scores == {}


def test_scores_on_the_cases_of_the_training_are_left_out(tmp_path):
    folder = write_model(tmp_path, folds=("all",))
    summary = {"metric_per_case": [{"metrics": {"1": {"Dice": 1.0}, "2": {"Dice": 1.0}}}]}
    (folder / "fold_all" / "validation" / "summary.json").write_text(json.dumps(summary))
    assert read(folder).bundle.provenance.scores == {}


def test_what_may_be_missing_is_taken_from_elsewhere_or_not_needed(tmp_path):
    folder = write_model(tmp_path)
    statistics = json.loads((folder / "plans.json").read_text())["foreground_intensity_properties_per_channel"]
    edit(folder / "plans.json", lambda plans: plans.pop("foreground_intensity_properties_per_channel"))
    edit(folder / "dataset.json", lambda dataset: [dataset.pop(key) for key in ("numTraining", "name")])
    with pytest.raises(ArtefactError, match=r"must map 0, 1, \.\.\. to statistics, got None"):
        read(folder)
    (folder / "dataset_fingerprint.json").write_text(
        json.dumps({"foreground_intensity_properties_per_channel": statistics})
    )
    assert read(folder).bundle.plan == tiny_plan()


def test_configurations_beside_it_may_be_foreign(tmp_path):
    def change(plans):
        plans["configurations"]["3d_fullres"]["next_stage"] = "mine"
        plans["configurations"]["mine"] = {"inherits_from": "2d", "normalization_schemes": ["Mine", "Mine"]}

    folder = write_model(tmp_path)
    edit(folder / "plans.json", change)
    imported = read(folder)
    assert list(imported.bundle.plan.configurations) == ["3d_fullres"]
    assert "other configurations than 3d_fullres are left out of the plan" in imported.notes[0]
    assert "no equivalent of 'Mine'" in imported.notes[0]


def write_postprocessing(folder, folds="0", **changes):
    content = {
        "postprocessing_fns": ["remove_all_but_largest_component_from_segmentation"],
        "postprocessing_kwargs": [{"labels_or_regions": 1}],
    }
    (folder / f"crossval_results_folds_{folds}").mkdir()
    (folder / f"crossval_results_folds_{folds}" / "postprocessing.json").write_text(json.dumps(content | changes))


def test_nnunets_postprocessing_becomes_the_models(tmp_path):
    folder = write_model(tmp_path)
    assert read(folder).bundle.postprocessing == ()
    write_postprocessing(folder)
    imported = read(folder)
    assert imported.bundle.postprocessing == (Step("keep_largest", (1,)),)
    assert "the postprocessing that nnU-Net chose is part of the model: of " in imported.notes[0]


def test_postprocessing_of_other_folds_is_left_out(tmp_path):
    folder = write_model(tmp_path)
    write_postprocessing(folder, "0_1_2_3_4")
    imported = read(folder)
    assert imported.bundle.postprocessing == ()
    assert "crossval_results_folds_0_1_2_3_4 was chosen for other folds and is not imported" in imported.notes[0]


def test_postprocessing_that_cannot_be_read_is_refused(tmp_path):
    folder = write_model(tmp_path)
    write_postprocessing(folder, postprocessing_kwargs=[{"labels_or_regions": 7}])
    with pytest.raises(ArtefactError, match=r"postprocessing\.json: .*\[7\] are no label values"):
        read(folder)


def test_folds_mirrored_otherwise_follow_the_first(tmp_path):
    folder = write_model(tmp_path, folds=(0, 1))
    torch.save(checkpoint(inference_allowed_mirroring_axes=None), folder / "fold_1" / "checkpoint_final.pth")
    imported = read(folder)
    assert imported.bundle.mirror_axes == (0, 1, 2)
    assert "mirrored along different axes" in imported.notes[0]


def test_the_card_says_what_the_files_state_and_nothing_else(tmp_path):
    folder = write_model(tmp_path)
    stated = {"numTraining": 260, "licence": "CC-BY-SA 4.0", "reference": "https://a.org/b/c"}
    edit(folder / "dataset.json", lambda content: content.update(stated))
    cases = [{"metrics": {"1": {"Dice": dice}, "2": {"Dice": 0.5}}} for dice in (0.25, 0.75)]
    (folder / "fold_0/validation/summary.json").write_text(json.dumps({"metric_per_case": cases}))
    save_bundle(tmp_path / "ours", read(folder).bundle)
    card = (tmp_path / "ours/README.md").read_text()
    for line in (
        "- Cases: 260",
        "- Licence: CC-BY-SA 4.0",
        "- Reference: https://a.org/b/c",
        "- Trained by: nnU-Net v2, with versions not stated",
        "- Code: not stated",
        "| dice/a | 0.5000 |",
    ):
        assert f"\n{line}\n" in card
    assert "Validated on 2 of 260 cases, those that the folds 0 left out" in card
    assert str(tmp_path) not in card


@pytest.mark.parametrize(("key", "name"), [("license", "licence"), ("reference", "reference")])
def test_a_path_in_the_description_is_refused(tmp_path, key, name):
    folder = write_model(tmp_path)
    edit(folder / "dataset.json", lambda content: content.update({key: "see /home/lee/README"}))
    with pytest.raises(DataError, match=f"dataset's {name} holds a path of this machine.*'/home/lee/README'"):
        read(folder)


def change_checkpoint(**changes):
    return lambda folder: torch.save(checkpoint(**changes), folder / "fold_0" / "checkpoint_final.pth")


def change_plans(change):
    return lambda folder: edit(folder / "plans.json", change)


def cascade(plans):
    low, high = "3d_lowres", "3d_cascade_fullres"
    plans["configurations"][low] = {"inherits_from": "3d_fullres", "next_stage": high}
    plans["configurations"][high] = {"inherits_from": "3d_fullres", "previous_stage": low}


def as_cascade(folder):
    change_plans(cascade)(folder)
    change_checkpoint(init_args={"configuration": "3d_cascade_fullres"})(folder)


def set_configuration(**values):
    return change_plans(lambda plans: plans["configurations"]["3d_fullres"].update(values))


def batch_normalized(plans):
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["norm_op"] = "torch.nn.BatchNorm3d"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (as_cascade, ArtefactError, "3d_cascade_fullres takes the segmentation by 3d_lowres as a further input"),
        (
            change_checkpoint(init_args={"configuration": "3d_lowres"}),
            ArtefactError,
            "no configuration '3d_lowres', which the checkpoint was trained by",
        ),
        (
            change_checkpoint(trainer_name="MyTrainer", network_weights={"encoder.stem.weight": torch.ones(2)}),
            ArtefactError,
            r"checkpoint_final\.pth \(trained by MyTrainer\): the weights do not fit the planned network; 28 missing",
        ),
        (change_checkpoint(trainer_name="../x"), ArtefactError, r"must name its trainer_name .*, got '\.\./x'"),
        (lambda f: edit(f / "dataset.json", lambda d: d["labels"].update(c=3)), ArtefactError, "of another shape"),
        (
            lambda f: edit(f / "dataset.json", lambda d: d["channel_names"].pop("1")),
            ArtefactError,
            "intensities needs one entry per channel",
        ),
        (lambda f: (f / "dataset.json").unlink(), ArtefactError, r"dataset\.json cannot be read: No such file"),
        (lambda f: (f / "dataset.json").write_text("{"), DataError, r"dataset\.json is no JSON"),
        (lambda f: (f / "plans.json").write_text("[]"), DataError, r"plans\.json must hold a JSON object, got list"),
        (lambda f: (f / "plans.json").write_text("{}"), ArtefactError, r"plans\.json: the key 'plans_name' is missing"),
        (
            lambda f: (f / "fold_0" / "checkpoint_final.pth").write_bytes(b"PK"),
            ArtefactError,
            "no whole file of PyTorch",
        ),
        (change_plans(batch_normalized), ArtefactError, "norm_op must be an InstanceNorm"),
        (set_configuration(preprocessor_name="Mine"), ArtefactError, "preprocessor_name: no equivalent of 'Mine'"),
        (set_configuration(normalization_schemes=["A", "B"]), ArtefactError, "no equivalent of 'A'"),
        (set_configuration(architecture=3), ArtefactError, "architecture must be an object, got 3"),
        (
            change_plans(lambda p: p.update(image_reader_writer="NibabelIOWithReorient")),
            ArtefactError,
            "image_reader_writer: only .* got 'NibabelIOWithReorient'",
        ),
        (
            change_plans(lambda p: p.update(label_manager="Mine")),
            ArtefactError,
            "label_manager: no equivalent of 'Mine'",
        ),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_has_no_equivalent_is_refused_by_name(tmp_path, change, error, message, packed):
    folder = write_model(tmp_path / "root")
    change(folder)
    source = zipped(folder, tmp_path / "model.zip") if packed else folder
    if packed:
        message = message.replace("cannot be read: No such file", "is missing")
    with pytest.raises(error, match=message) as caught:
        read(source)
    assert str(source) in str(caught.value)
    assert "segfw-" not in str(caught.value)
