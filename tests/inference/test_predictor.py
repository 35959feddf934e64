"""Whole cases: geometry, folds averaged as logits, configurations as probabilities."""

import dataclasses

import numpy as np
import pytest
import torch

from segfw.core.errors import ArtefactError, DataError
from segfw.core.imaging.preprocessing import preprocess_case
from segfw.core.scoring.postprocessing import Step, apply_steps
from segfw.core.settings.schema import InferenceSettings
from segfw.core.types import Volume
from segfw.inference.bundle import load_bundle, save_bundle
from segfw.inference.predictor import CasePredictor, logit_map
from segfw.inference.restoring import restore_segmentation
from segfw.io.formats.images import slice_spacing
from segfw.nn.build import build_network


@pytest.fixture
def volume():
    array = np.zeros((2, 9, 12, 11), np.float32)
    array[:, 1:8, 2:, 1:10] = np.random.default_rng(0).normal(size=(2, 7, 10, 9))
    return Volume(array, (1.2, 1.0, 2.0))


def with_members(bundle, *indices):
    return dataclasses.replace(bundle, members=tuple(bundle.members[i] for i in indices))


def softmax(logits):
    exponentials = np.exp(logits - logits.max(0))
    return exponentials / exponentials.sum(0)


@pytest.mark.parametrize("members", [(0,), (2,), (0, 1, 2)])
def test_prediction_has_the_image_geometry(bundle, volume, members):
    before = volume.array.copy()
    prediction = CasePredictor(with_members(bundle, *members), "cpu").predict(volume, probabilities=True)
    assert prediction.segmentation.shape == volume.shape
    assert prediction.segmentation.dtype == np.uint8
    assert prediction.segmentation[:, :2].max() == 0  # outside the nonzero region
    assert prediction.probabilities.shape == (3, *volume.shape)
    np.testing.assert_allclose(prediction.probabilities.sum(0), 1, rtol=1e-5)
    np.testing.assert_array_equal(prediction.probabilities.argmax(0), prediction.segmentation)
    np.testing.assert_array_equal(volume.array, before)


def test_the_models_postprocessing_is_applied_to_the_segmentation_alone(bundle, volume):
    plain = CasePredictor(with_members(bundle, 2), "cpu").predict(volume, probabilities=True)
    steps = (Step("keep_largest", (1, 2)), Step("remove_small", (2,), minimum_mm3=5.0))  # a voxel has 2.4 mm³
    processed = dataclasses.replace(with_members(bundle, 2), postprocessing=steps)
    prediction = CasePredictor(processed, "cpu").predict(volume, probabilities=True)
    expected = apply_steps(plain.segmentation, steps, volume.spacing)
    assert (expected != plain.segmentation).any()
    np.testing.assert_array_equal(prediction.segmentation, expected)
    np.testing.assert_array_equal(prediction.probabilities, plain.probabilities)
    settings = dataclasses.replace(bundle.inference, postprocessing=False)
    without = CasePredictor(processed, "cpu", settings).predict(volume)
    np.testing.assert_array_equal(without.segmentation, plain.segmentation)


def test_probabilities_only_when_asked(bundle, volume):
    assert CasePredictor(with_members(bundle, 2), "cpu").predict(volume).probabilities is None


def test_folds_are_averaged_on_logits(bundle, volume):
    plan = bundle.plan
    case = preprocess_case(volume, None, plan, plan.configuration("3d_fullres"))
    maps = []
    for member in bundle.members[:2]:
        network = build_network(plan.configuration("3d_fullres"), 2, 3)
        network.load_state_dict(member.weights)
        maps.append(logit_map(network, case, plan, "3d_fullres", bundle.inference, (0, 1, 2)))
    mean = torch.stack([entry.logits.float() for entry in maps]).mean(0)
    best = mean.topk(2, dim=0).values
    expected = restore_segmentation(mean, case.record, plan, plan.configuration("3d_fullres"))
    both = CasePredictor(with_members(bundle, 0, 1), "cpu").predict(volume).segmentation
    assert (both == expected).mean() > 0.999
    assert (best[0] - best[1]).max() > 0.1  # the networks do prefer something
    alone = CasePredictor(with_members(bundle, 0), "cpu").predict(volume).segmentation
    assert (both != alone).any()


def test_configurations_are_averaged_on_probabilities(bundle, volume):
    first, second, both = (
        CasePredictor(with_members(bundle, *members), "cpu").predict(volume, probabilities=True).probabilities
        for members in ((0,), (2,), (0, 2))
    )
    np.testing.assert_allclose(both, (first + second) / 2, atol=1e-6)


def test_saved_model_predicts_the_same(bundle, volume, tmp_path):
    save_bundle(tmp_path / "model", bundle)
    expected = CasePredictor(bundle, "cpu").predict(volume).segmentation
    np.testing.assert_array_equal(
        CasePredictor(load_bundle(tmp_path / "model"), "cpu").predict(volume).segmentation, expected
    )


def test_settings_overrule_the_model(bundle, volume):
    plain = CasePredictor(with_members(bundle, 0), "cpu", InferenceSettings(mirror=False))
    assert plain.settings.mirror is False
    mirrored = CasePredictor(with_members(bundle, 0), "cpu")
    assert (plain.predict(volume).segmentation != mirrored.predict(volume).segmentation).any()


def test_wrong_number_of_channels(bundle, volume):
    single = Volume(volume.array[:1], volume.spacing)
    with pytest.raises(DataError, match=r"2 channels \['T1', 'mask'\], got 1"):
        CasePredictor(with_members(bundle, 2), "cpu").predict(single)
    more = Volume(np.concatenate([volume.array, volume.array]), volume.spacing)
    with pytest.raises(DataError, match="got 4; the fourth axis of a 4D file"):
        CasePredictor(with_members(bundle, 2), "cpu").predict(more)


def test_a_2d_image_is_refused_by_3d_networks_alone(bundle, volume):
    flat = Volume(volume.array[:, :1], slice_spacing(volume.spacing[1:]))
    for member in range(len(bundle.members)):
        chosen = with_members(bundle, member)
        predictor = CasePredictor(chosen, "cpu")
        if chosen.plan.configuration(chosen.members[0].configuration).is_2d:
            predictor.prepare(flat)
        else:
            with pytest.raises(DataError, match=r"the image is 2D, 1 x .* voxels"):
                predictor.prepare(flat)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_3d_image_of_one_slice_is_padded(bundle, volume, axis, caplog):
    flat = Volume(np.take(volume.array, [0], axis + 1), volume.spacing)
    for chosen, told in ((with_members(bundle, 0), True), (bundle, False)):
        caplog.clear()
        assert CasePredictor(chosen, "cpu").predict(flat).segmentation.shape == flat.shape
        assert ("the image has one slice" in caplog.text) == told


def test_weights_of_another_network(bundle):
    wrong = dataclasses.replace(bundle.members[0], weights=bundle.members[2].weights)
    with pytest.raises(ArtefactError, match=r"3d_fullres, fold 0: the weights do not fit .* of another shape: \w+"):
        CasePredictor(dataclasses.replace(bundle, members=(wrong,)), "cpu")


def test_weights_are_compared_before_a_network_takes_memory(bundle):
    huge = dataclasses.replace(
        bundle.plan.configuration("3d_fullres"), features_per_stage=(65536, 65536), kernel_sizes=((255,) * 3,) * 2
    )
    plan = dataclasses.replace(bundle.plan, configurations={**bundle.plan.configurations, "3d_fullres": huge})
    with pytest.raises(ArtefactError, match="3d_fullres, fold 0: the weights do not fit"):
        CasePredictor(dataclasses.replace(bundle, plan=plan), "cpu")


def test_probabilities_are_written_band_by_band(bundle, volume, tmp_path):
    predictor, file = CasePredictor(bundle, "cpu"), tmp_path / "case_probabilities.npy"
    logits = predictor.compute(predictor.prepare(volume))
    prediction = predictor.restore(logits, probabilities=True, probabilities_file=file)
    np.testing.assert_allclose(np.load(file), prediction.probabilities, atol=5e-4)


def test_a_network_short_of_memory_loses_no_case(one_thread, bundle, volume, monkeypatch, caplog):
    """Networks that take one window at most, of four: the first case finds out, the second begins so."""
    predictor = CasePredictor(bundle, "cpu", InferenceSettings(window_batch_size=4))
    expected = CasePredictor(bundle, "cpu").predict(volume).segmentation

    def crowded(network, forward):
        def compute(windows):
            if len(windows) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
            return forward(windows)

        monkeypatch.setattr(network, "forward", compute)

    for networks in predictor._members.values():
        for network in networks:
            crowded(network, network.forward)
    for _ in range(2):
        np.testing.assert_array_equal(predictor.predict(volume).segmentation, expected)
    warned = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == 4  # to two and to one, for 3d_fullres and for 2d


def test_the_relative_size_counts_voxels_as_the_networks_see_them(bundle, volume):
    predictor = CasePredictor(with_members(bundle, 2), "cpu")
    image = predictor.prepare(volume)
    ((name, case),) = image.items()
    median = bundle.plan.configuration(name).median_image_size_in_voxels
    expected = np.prod(case.image.shape[1:]) / np.prod(median)
    assert predictor.relative_size(image) == pytest.approx(expected)
    coarse = predictor.prepare(dataclasses.replace(volume, spacing=tuple(2 * each for each in volume.spacing)))
    assert predictor.relative_size(coarse) > 3 * expected
