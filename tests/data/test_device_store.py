"""Batches cut from a device's memory are those cut from files."""

import numpy as np
import pytest
import torch

from segfw.core.settings.training import AugmentationSettings
from segfw.data.device_store import load_on_device
from segfw.data.drawing import PatchSpec
from segfw.data.sampling import PatchDataset
from segfw.data.store import Store
from tests.data.conftest import LABELS

CPU = torch.device("cpu")
TURNING = AugmentationSettings(rotation_probability=0.5, scaling_probability=0.5, shift_probability=0.5)
IN_PLANE = AugmentationSettings(rotation_probability=0.5, dummy_2d=True)


@pytest.mark.parametrize(
    ("size", "spatial"), [((6, 8, 8), TURNING), ((6, 8, 8), IN_PLANE), ((8, 6), TURNING), ((6, 8, 8), None)]
)
def test_batches_are_the_same(store: Store, size: tuple, spatial: AugmentationSettings | None) -> None:
    spec = PatchSpec(size, 8, 0.33, spatial)
    held = load_on_device(store, store.cases, CPU)
    datasets = [PatchDataset(store, store.cases, spec, LABELS, 3, "train", cut) for cut in (None, held.cut)]
    for batch in range(5):
        files, memory = (data.__getitems__([(1, 8 * batch + i) for i in range(8)]) for data in datasets)
        assert torch.equal(files["image"], memory["image"])
        assert torch.equal(files["label"], memory["label"])
        assert files["label"].dtype == memory["label"].dtype == torch.int16
        assert files["cases"] == memory["cases"]


def test_a_batch_in_which_all_are_turned(store: Store) -> None:
    spec = PatchSpec((6, 8, 8), 3, 0.33, AugmentationSettings(rotation_probability=1))
    held = load_on_device(store, store.cases, CPU)
    one, two = (PatchDataset(store, store.cases, spec, LABELS, 3, "train", cut)[(0, 1)] for cut in (None, held.cut))
    assert torch.equal(one["image"], two["image"])


def test_cases_are_held_once_and_as_they_are_stored(store: Store) -> None:
    held = load_on_device(store, [*store.cases, "case_1"], CPU)
    voxels = sum(int(np.prod(store.image(name).shape[1:])) for name in store.cases)
    assert held.image.shape == held.label.shape == (1, voxels)
    assert (held.image.dtype, held.label.dtype) == (torch.float32, torch.int8)
