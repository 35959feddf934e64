"""The disagreement of samples, by hand and on images."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from segfw.core.errors import UsageError
from segfw.core.settings.schema import InferenceSettings, NetworkSettings
from segfw.core.types import Volume
from segfw.inference.bundle import Member
from segfw.inference.predictor import AveragedNetwork, CasePredictor
from segfw.inference.sliding_window import predict_logits
from segfw.inference.uncertainty import entropies, sample_logits
from segfw.nn.build import fresh_network

SURE = 30.0  # logits this far apart are a probability of 1 in float32
DROPPING = NetworkSettings("bayesian_unet", arguments={"dropout": 0.3})


class Opinion(nn.Module):
    """Holds the logits that it gives."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.logits = torch.tensor(values).view(-1, 1, 1, 1).half()


def disagreement(*opinions: Opinion, regions: bool = False) -> float:
    sampled = sample_logits(opinions, lambda network: network.logits, InferenceSettings(), regions)
    return sampled.disagreement.item()


def test_samples_that_agree_leave_no_doubt_however_unsure_each_is():
    assert disagreement(Opinion(0, 0), Opinion(0, 0)) == 0
    assert disagreement(Opinion(SURE, 0), Opinion(SURE, 0)) == pytest.approx(0, abs=1e-6)


def test_sure_samples_that_contradict_each_other_are_all_doubt():
    assert disagreement(Opinion(SURE, 0), Opinion(0, SURE)) == pytest.approx(math.log(2))
    three = [Opinion(*(SURE if i == j else 0 for j in range(3))) for i in range(3)]
    assert disagreement(*three) == pytest.approx(math.log(3))


def test_between_both_it_is_mean_entropy_taken_from_entropy_of_the_mean():
    # p of (1/2, 1/2) and (1, 0): mean (3/4, 1/4)
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) - math.log(2) / 2
    assert disagreement(Opinion(0, 0), Opinion(SURE, 0)) == pytest.approx(expected)


def test_regions_count_for_themselves():
    agree_on_one = disagreement(Opinion(SURE, SURE), Opinion(SURE, -SURE), regions=True)
    assert agree_on_one == pytest.approx(math.log(2))
    assert disagreement(Opinion(SURE, SURE), Opinion(-SURE, -SURE), regions=True) == pytest.approx(2 * math.log(2))
    assert entropies(torch.tensor([0.5, 0.5]), True).item() == pytest.approx(2 * math.log(2))


@pytest.fixture
def volume():
    return Volume(np.random.default_rng(0).normal(size=(2, 9, 12, 11)).astype(np.float32), (1.2, 1.0, 2.0))


@pytest.fixture
def dropping(bundle):
    """A model of one fold of a network with dropout."""
    network = fresh_network(bundle.plan.configuration("3d_fullres"), 2, 3, False, DROPPING, 0)
    arguments = dict(DROPPING.arguments)
    member = Member("3d_fullres", 0, "bayesian_unet", network.state_dict(), None, arguments)
    return dataclasses.replace(bundle, members=(member,), inference=InferenceSettings(mirror=False, samples=3))


def test_folds_are_averaged_as_without_uncertainty(bundle, volume):
    model = CasePredictor(dataclasses.replace(bundle, members=bundle.members[:2]), "cpu")
    plain, unsure = model.predict(volume), model.predict(volume, uncertainty=True)
    assert (plain.segmentation == unsure.segmentation).mean() > 0.999  # sums in another order
    assert plain.uncertainty is None
    assert unsure.uncertainty.shape == volume.shape
    assert unsure.uncertainty.dtype == np.float32
    assert 0 < unsure.uncertainty.max() <= math.log(3)
    assert unsure.uncertainty.min() >= 0


def test_configurations_disagree_with_each_other(bundle, volume):
    one_of_each = CasePredictor(dataclasses.replace(bundle, members=bundle.members[1:]), "cpu")
    prediction = one_of_each.predict(volume, probabilities=True, uncertainty=True)
    alone = [
        CasePredictor(dataclasses.replace(bundle, members=(member,)), "cpu").predict(volume, probabilities=True)
        for member in bundle.members[1:]
    ]
    p = torch.from_numpy(np.stack([each.probabilities for each in alone]))
    expected = entropies(p.mean(0), False) - torch.stack([entropies(each, False) for each in p]).mean(0)
    np.testing.assert_allclose(prediction.uncertainty, expected[0].clamp_min(0), atol=1e-5)


def test_monte_carlo_samples_follow_from_the_seed(dropping, volume):
    model = CasePredictor(dropping, "cpu")
    first, again = (model.predict(volume, uncertainty=True) for _ in range(2))
    np.testing.assert_array_equal(first.uncertainty, again.uncertainty)
    np.testing.assert_array_equal(first.segmentation, again.segmentation)
    other = CasePredictor(dropping, "cpu", dataclasses.replace(dropping.inference, seed=1))
    assert (other.predict(volume, uncertainty=True).uncertainty != first.uncertainty).any()
    assert first.uncertainty.max() > 0


def test_the_mean_network_is_back_after_sampling(dropping, volume):
    model = CasePredictor(dropping, "cpu")
    before = model.predict(volume, probabilities=True).probabilities
    model.predict(volume, uncertainty=True)
    np.testing.assert_array_equal(model.predict(volume, probabilities=True).probabilities, before)


def test_a_sample_is_one_network_for_all_windows_and_mirrorings(dropping):
    configuration = dropping.plan.configuration("3d_fullres")
    network = fresh_network(configuration, 2, 3, False, DROPPING, 0).eval()
    image = torch.randn(2, 12, 12, 12)

    def compute(one, windows=1):
        settings = InferenceSettings(window_batch_size=windows)
        return predict_logits(one, image, configuration.patch_size, settings, (0, 1, 2), 3)

    one, several = (
        sample_logits([network], lambda one, n=n: compute(one, n), InferenceSettings(samples=2), False) for n in (1, 5)
    )
    torch.testing.assert_close(one.disagreement, several.disagreement, atol=1e-4, rtol=1e-2)
    torch.testing.assert_close(one.logits, several.logits, atol=2e-3, rtol=1e-2)


def test_the_mean_of_samples_is_that_of_their_probabilities(dropping):
    network = fresh_network(dropping.plan.configuration("3d_fullres"), 2, 3, False, DROPPING, 0).eval()
    image, seen = torch.randn(1, 2, 8, 8, 8), []

    def compute(one):
        seen.append(one(image)[0].half())
        return seen[-1]

    sampled = sample_logits([network], compute, InferenceSettings(samples=4), False)
    expected = torch.stack([logits.float().softmax(0) for logits in seen]).mean(0)
    torch.testing.assert_close(sampled.logits.float().softmax(0), expected, atol=2e-3, rtol=1e-2)
    assert len(seen) == 4


def test_folds_and_samples_together(dropping, volume):
    twice = tuple(dataclasses.replace(dropping.members[0], fold=fold) for fold in (0, 1))
    model = CasePredictor(dataclasses.replace(dropping, members=twice), "cpu")
    assert isinstance(model.predict(volume, uncertainty=True).uncertainty, np.ndarray)


def test_a_single_opinion_cannot_disagree(bundle, volume):
    alone = dataclasses.replace(bundle, members=bundle.members[:1])
    with pytest.raises(UsageError, match=r"bayesian_unet.* or several folds; this model is one fold of unet"):
        CasePredictor(alone, "cpu").predict(volume, uncertainty=True)
    planned = dataclasses.replace(alone, members=(dataclasses.replace(alone.members[0], network="planned"),))
    with pytest.raises(UsageError, match="one fold of unet"):
        CasePredictor(planned, "cpu", InferenceSettings(uncertainty=True))
    with pytest.raises(UsageError, match="one fold of unet"):
        CasePredictor(alone, "cpu", InferenceSettings(uncertainty=True))


def test_averaged_network_has_the_mean_of_its_members():
    members = [nn.Identity(), nn.LeakyReLU(0.5)]
    x = torch.tensor([[-2.0, 2.0]])
    assert AveragedNetwork(members)(x).tolist() == [[-1.5, 2.0]]
