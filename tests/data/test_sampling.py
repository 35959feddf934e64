"""Samples and batches of patches, and who of several ranks asks for which."""

import itertools
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from segfw.core.errors import UsageError
from segfw.core.settings.training import AugmentationSettings
from segfw.data.drawing import PatchSpec, is_forced
from segfw.data.sampling import EpochBatchSampler, PatchDataset, collate
from segfw.data.store import Store
from tests.data.conftest import LABELS

STILL = AugmentationSettings(rotation_probability=0, scaling_probability=0)


@pytest.mark.parametrize("size", [(6, 8, 8), (8, 6)])
@pytest.mark.parametrize("spatial", [None, AugmentationSettings(rotation_probability=0.5)])
def test_samples_have_the_patch_size(store: Store, size: tuple[int, ...], spatial: AugmentationSettings | None) -> None:
    dataset = PatchDataset(store, store.cases, PatchSpec(size, 4, 0.33, spatial), LABELS, 0, "train")
    for index in range(8):
        sample = dataset[(0, index)]
        assert sample["image"].shape == (1, *size)
        assert sample["label"].shape == (1, *size)
        assert (sample["image"].dtype, sample["label"].dtype) == (torch.float32, torch.int16)
        if index % 4 == 3 and spatial is None:
            assert (sample["label"] > 0).any()


def test_unmoved_patch_is_a_cut_of_the_stored_case(store: Store) -> None:
    dataset = PatchDataset(store, ["case_2"], PatchSpec((4, 4, 4), 2, 0.0, STILL), LABELS, 0, "train")
    image = store.image("case_2")
    for index in range(5):
        patch = dataset[(0, index)]["image"].numpy()
        places = itertools.product(*(range(n - 3) for n in image.shape[1:]))
        cuts = (image[:, a : a + 4, b : b + 4, c : c + 4] for a, b, c in places)
        assert sum(np.array_equal(cut, patch) for cut in cuts) == 1


def test_samples_depend_on_seed_purpose_epoch_and_index_only(store: Store) -> None:
    spec = PatchSpec((6, 8, 8), 4, 0.33, AugmentationSettings())
    one = PatchDataset(store, store.cases, spec, LABELS, 0, "train")
    two = pickle.loads(pickle.dumps(one))
    assert torch.equal(one[(3, 5)]["image"], two[(3, 5)]["image"])
    others = [
        one[(4, 5)],
        one[(3, 6)],
        PatchDataset(store, store.cases, spec, LABELS, 1, "train")[(3, 5)],
        PatchDataset(store, store.cases, spec, LABELS, 0, "validation")[(3, 5)],
    ]
    assert not any(torch.equal(one[(3, 5)]["image"], other["image"]) for other in others)


def test_cases_are_equally_likely(store: Store) -> None:
    dataset = PatchDataset(store, store.cases, PatchSpec((4, 4), 2), LABELS, 0, "train")
    counts = Counter(dataset[(0, index)]["case"] for index in range(600))
    assert all(abs(count - 200) < 4 * np.sqrt(600 * 2 / 9) for count in counts.values())


def test_cases_are_drawn_by_their_weights(store: Store) -> None:
    spec = PatchSpec((4, 4), 2, case_weights={"case_0": 3.0, "case_1": 0.0, "elsewhere": 9.0})
    dataset = PatchDataset(store, store.cases, spec, LABELS, 0, "train")
    counts = Counter(dataset.draw(0, range(600)).cases)
    assert counts.keys() == {"case_0", "case_2"}
    assert abs(counts["case_0"] - 450) < 4 * np.sqrt(600 * 3 / 16)


def test_weights_that_leave_nothing(store: Store) -> None:
    spec = PatchSpec((4, 4), 2, case_weights=dict.fromkeys(store.cases, 0.0))
    with pytest.raises(UsageError, match=r"sampling.case_weights gives every one of \['case_0', .* the weight 0"):
        PatchDataset(store, store.cases, spec, LABELS, 0, "train")


def test_batch_equals_its_samples(store: Store) -> None:
    spec = PatchSpec((6, 8, 8), 4, 0.33, AugmentationSettings(rotation_probability=0.5, shift_probability=0.5))
    dataset = PatchDataset(store, store.cases, spec, LABELS, 0, "train")
    keys = [(2, index) for index in range(8)]
    together, apart = dataset.__getitems__(keys), collate([dataset[key] for key in keys])
    assert torch.equal(together["image"], apart["image"])
    assert torch.equal(together["label"], apart["label"])
    assert together["cases"] == apart["cases"]
    assert together["indices"].tolist() == apart["indices"].tolist() == list(range(8))
    assert collate(together) is together


def test_no_cases() -> None:
    with pytest.raises(UsageError, match="no case to draw patches from for train"):
        PatchDataset(None, [], PatchSpec((4, 4), 2), LABELS, 0, "train")  # type: ignore[arg-type]


def test_workers_do_not_change_the_batches(store: Store) -> None:
    dataset = PatchDataset(
        store, store.cases, PatchSpec((6, 8, 8), 2, 0.33, AugmentationSettings()), LABELS, 0, "train"
    )
    epochs = []
    for workers in (0, 2):
        sampler = EpochBatchSampler(3, 2)
        loader = DataLoader(
            dataset, batch_sampler=sampler, collate_fn=collate, num_workers=workers, persistent_workers=workers > 0
        )
        for epoch in range(2):
            loader.batch_sampler.set_epoch(epoch)
            epochs.append(list(loader))
    for alone, shared in zip(epochs[0] + epochs[1], epochs[2] + epochs[3], strict=True):
        assert torch.equal(alone["image"], shared["image"])
        assert torch.equal(alone["label"], shared["label"])
        assert alone["cases"] == shared["cases"]
        assert alone["epoch"] == shared["epoch"]
    assert [batch["epoch"] for batch in epochs[3]] == [1, 1, 1]
    assert [batch["indices"].tolist() for batch in epochs[3]] == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize(
    ("batch_size", "world_size", "forced"),
    [
        (2, 2, [(1, 0), (1, 1)]),
        (3, 2, [(2, 0), (1, 1)]),
        (4, 2, [(2, 0), (2, 1)]),
        (5, 2, [(3, 0), (2, 2)]),
        (9, 4, [(3, 0), (2, 0), (2, 1), (2, 2)]),
        (12, 2, [(6, 0), (6, 4)]),
        (12, 4, [(3, 0), (3, 0), (3, 1), (3, 3)]),
    ],
)
def test_ranks_share_a_batch_as_the_reference_does(
    batch_size: int, world_size: int, forced: list[tuple[int, int]]
) -> None:
    shares = [list(EpochBatchSampler(2, batch_size, rank, world_size)) for rank in range(world_size)]
    for step in range(2):
        indices = [index for share in shares for _, index in share[step]]
        assert indices == list(range(step * batch_size, (step + 1) * batch_size))
    positions = [[index % batch_size for _, index in share[1]] for share in shares]
    counts = [(len(p), sum(is_forced(position, batch_size, 0.33) for position in p)) for p in positions]
    assert counts == forced


def test_more_ranks_than_samples() -> None:
    with pytest.raises(UsageError, match="a batch of 2 cannot be shared by 3 devices"):
        EpochBatchSampler(1, 2, 0, 3)


def test_epoch_sampler_is_found_by_lightning() -> None:
    sampler = EpochBatchSampler(2, 3)
    sampler.sampler.set_epoch(4)
    assert list(sampler) == [[(4, 0), (4, 1), (4, 2)], [(4, 3), (4, 4), (4, 5)]]
    assert len(sampler) == 2


def test_an_epoch_that_was_begun_is_gone_on_with_once():
    sampler = EpochBatchSampler(3, 2)
    whole = list(sampler)
    sampler.begin_with(2)
    sampler.set_epoch(0)
    assert len(sampler) == 3
    assert list(sampler) == whole[2:]
    assert list(sampler) == whole


def test_repeated_batches_are_the_first_of_the_first_epoch() -> None:
    sampler = EpochBatchSampler(3, 2, repeated=2)
    sampler.set_epoch(5)
    assert list(sampler) == [[(0, 0), (0, 1)], [(0, 2), (0, 3)], [(0, 0), (0, 1)]]
    second = EpochBatchSampler(3, 3, rank=1, world_size=2, repeated=1)
    assert list(second) == [[(0, 2)]] * 3
    sampler.begin_with(2)
    assert list(sampler) == [[(0, 0), (0, 1)]]
