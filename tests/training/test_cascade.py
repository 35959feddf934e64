"""A second stage is trained, validated and refused like any other run, with its further input."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from segfw.core.errors import ArtefactError
from segfw.core.settings.training import AugmentationSettings
from segfw.data.cascade import CascadeStore, ChangedPreviousStage
from segfw.data.drawing import PatchSpec
from segfw.data.next_stage import commit_segmentations, hash_of, save_segmentation
from segfw.data.sampling import PatchDataset
from segfw.data.store import Store
from segfw.inference.cascade import FedNetwork
from segfw.training.cascade import fed, open_store, whole_case, with_changes
from segfw.training.fit import FoldResult
from segfw.training.run import FoldRun, PreviousRuns
from tests.training.conftest import CASES, SHAPE, make_plan

MakeRun = Callable[..., FoldRun]
Fit = Callable[..., FoldResult]


@pytest.fixture
def run(make_run: MakeRun, store: Path, tmp_path: Path) -> FoldRun:
    """A run of a second stage; the first one was right about every voxel of label 2 and saw nothing else."""
    folder, own = tmp_path / "next_stage", Store.open(store)
    for case in CASES:
        save_segmentation(folder, case, np.where(own.label(case)[0] == 2, 2, 0).astype(np.uint8))
    commit_segmentations(folder, CASES, {"weights": "abc"})
    plan = make_plan()
    second = replace(plan.configurations["3d_fullres"], previous_stage="3d_lowres")
    previous = PreviousRuns("3d_lowres", (str(folder),), (hash_of(folder),))
    return make_run(plan=replace(plan, configurations={"3d_fullres": second}), previous=previous)


def test_it_trains_and_is_validated_on_whole_cases(run: FoldRun, fit: Fit, tmp_path: Path) -> None:
    result = fit(run, tmp_path / "run")
    assert result.scores is not None
    assert [case.case for case in result.scores.cases] == ["c"]
    weights = torch.load(result.checkpoint, weights_only=True)["state_dict"]
    first = next(tensor for name, tensor in weights.items() if tensor.ndim == 5)
    assert first.shape[1] == run.num_channels == 3


def test_what_a_whole_case_is_given(run: FoldRun, make_run: MakeRun) -> None:
    store = open_store(run)
    assert isinstance(store, CascadeStore)
    given = whole_case(store, "a")
    assert given.shape == (2, *SHAPE)
    assert given.dtype == torch.float32
    np.testing.assert_array_equal(given[:1], store.image("a"))
    np.testing.assert_array_equal(given[1] == 2, store.label("a")[0] == 2)
    alone = make_run()
    np.testing.assert_array_equal(whole_case(open_store(alone), "a"), store.image("a"))
    network = torch.nn.Identity()
    assert fed(network, alone) is network
    assert isinstance(fed(network, run), FedNetwork)


def test_only_a_second_stage_has_something_to_change(run: FoldRun, make_run: MakeRun) -> None:
    patches = PatchDataset(open_store(run), ("a",), PatchSpec((8, 8, 8), 2), run.plan.labels, 0, "training")
    assert with_changes(patches, make_run()) is patches
    changed = with_changes(patches, replace(run, augmentation=AugmentationSettings(previous_removal_size=0.5)))
    assert isinstance(changed, ChangedPreviousStage)
    assert (changed.values, changed.settings.previous_removal_size) == ((1, 2), 0.5)


def test_nothing_to_begin_with_and_changed_segmentations_are_refused(run: FoldRun, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="3d_fullres fold 0 has no segmentations of 3d_lowres to begin with"):
        open_store(replace(run, previous=None))
    commit_segmentations(tmp_path / "next_stage", CASES, {"weights": "def"})
    with pytest.raises(ArtefactError, match=r"next_stage has changed: its manifest's SHA-256 is \w{64}, it was \w{64}"):
        open_store(run)
