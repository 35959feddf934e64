"""The card says what the package holds, for people, and survives odd texts."""

import dataclasses

from segfw.core.labels import LabelSet
from segfw.core.scoring.postprocessing import Step
from segfw.inference.model_card import model_card
from segfw.inference.provenance import Provenance, TrainingData

MEMBERS = [("3d_fullres", 0, "planned"), ("3d_fullres", 1, "planned"), ("2d", 0, "vnet")]


def test_it_tells_data_scores_networks_and_licence(plan):
    provenance = Provenance(
        created="2026-11-23",
        dataset="0123abcd",
        versions={"segfw": "0.1.0", "torch": "2.13.0"},
        scores={"dice": 0.90125, "dice/a": 0.88, "dice/b": 0.9225},
        code="f00d",
        num_scored=52,
        trained_by="segfw",
        data=TrainingData(260, "MRI", "CC-BY-SA 4.0", "Vanderbilt"),
    )
    card = model_card(plan, MEMBERS, provenance)
    for line in (
        "# Dataset: segmentation of a, b",
        "| 0 | T1 | zscore |",
        "| 1 | mask | nonorm |",
        "| a | 1 |",
        "- Modality: MRI",
        "- Cases: 260",
        "- Licence: CC-BY-SA 4.0",
        "| dice | 0.9012 |",
        "| dice/b | 0.9225 |",
        "- `3d_fullres`: unet, folds 0, 1; patches of 8 x 8 x 8 voxels of 1 x 1.5 x 1 mm, features 4, 6",
        "- `2d`: vnet, folds 0; patches of 8 x 8 voxels of 1.5 x 1 mm, features 4, 6",
        "- Code: f00d",
        "- Dataset, hash of its content: 0123abcd",
    ):
        assert f"\n{line}\n" in f"\n{card}", line
    assert "Validated on 52 of 260 cases, those that the folds 0, 1 left out: each was segmented whole" in card
    assert "- Trained by: segfw, with segfw 0.1.0, torch 2.13.0\n- Packaged: 2026-11-23\n" in card
    assert "no medical device" in card
    assert "python -m segfw predict model=" in card


def test_it_says_which_folds_predict_where_not_all_do(plan):
    assert "\nOf their folds, 1, full predict (" in model_card(plan, MEMBERS, Provenance(), folds=(1, "full"))
    assert " predict (unless" not in model_card(plan, MEMBERS, Provenance())


def test_what_is_not_known_is_said(plan):
    card = model_card(plan, MEMBERS[:1], Provenance())
    assert "- Licence: not stated\n" in card
    assert "- Cases: not stated\n" in card
    assert "- Modality: T1, mask\n" in card
    assert "None are stated on cases that the networks had not seen" in card
    assert "- Trained by: not stated, with versions not stated\n- Packaged: not stated\n- Code: not stated\n" in card


def test_the_words_for_the_scores_follow_the_number_of_cases(plan):
    def scored(num_scored, num_cases):
        data = TrainingData(num_cases)
        return model_card(plan, MEMBERS, Provenance(scores={"dice": 0.5}, num_scored=num_scored, data=data))

    assert "Cross-validated: each of 7 cases was segmented whole by a network that was not" in scored(7, 7)
    assert "Validated on 7 cases, those" in scored(7, 0)
    assert "Number of cases: not stated." in scored(0, 7)


def test_only_segfw_itself_is_known_to_be_released(plan):
    assert "- Code: a released version\n" in model_card(plan, MEMBERS, Provenance(trained_by="segfw"))
    assert "- Code: not stated\n" in model_card(plan, MEMBERS, Provenance(trained_by="nnU-Net v2"))


def test_regions_are_listed_with_their_values(plan):
    labels = LabelSet({"background": 0, "whole": (1, 2), "core": (2,)}, (1, 2))
    card = model_card(dataclasses.replace(plan, labels=labels), MEMBERS, Provenance())
    assert "| region | values |" in card
    assert "| whole | 1, 2 |" in card


def test_free_text_stays_one_plain_line(plan):
    data = TrainingData(licence="my | own\n\n# <script>[x](y)", reference="a\tb")
    card = model_card(plan, MEMBERS, Provenance(data=data))
    assert "- Licence: my \\| own # &lt;script>\\[x](y)\n" in card
    assert "- Reference: a b\n" in card


def test_postprocessing_is_told_in_words(plan):
    steps = (Step("keep_largest", (1,)), Step("remove_small", (2,), minimum_mm3=12))
    card = model_card(plan, MEMBERS, Provenance(), steps)
    assert (
        "1. of a only the largest connected component is kept\n2. connected components of b below 12 mm³ are removed\n"
    ) in card
    assert "## Postprocessing" not in model_card(plan, MEMBERS, Provenance())


def test_scores_of_a_model_that_postprocesses_say_that_they_are_without(plan):
    steps = (Step("keep_largest", (1,)),)
    scored = Provenance(scores={"dice": 0.5}, num_scored=7, data=TrainingData(7))
    said = "\nThe figures are of segmentations before postprocessing, which predicting applies (see below).\n\n| figure"
    assert said in model_card(plan, MEMBERS, scored, steps)
    assert "before postprocessing" not in model_card(plan, MEMBERS, scored)
    assert "before postprocessing" not in model_card(plan, MEMBERS, Provenance(), steps)
