"""Each artefact changes its patch, follows from the sample's generator alone, and touches no global one."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from segfw.core.settings.training import AugmentationSettings
from segfw.data.artefacts import add_artefacts, draw_artefacts, has_artefacts
from segfw.data.drawing import PatchSpec
from segfw.data.sampling import EpochBatchSampler, PatchDataset, collate
from segfw.data.store import Store
from tests.data.conftest import LABELS

ARTEFACTS = ("bias_field", "motion", "ghosting", "spike")
ALL = AugmentationSettings(**dict.fromkeys((f"{name}_probability" for name in ARTEFACTS), 1.0))  # type: ignore[arg-type]


def patch(*shape: int) -> torch.Tensor:
    """A bright box in noise, below and above 0."""
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.1
    image[(slice(None), *(slice(n // 4, n // 2) for n in shape[1:]))] += 2
    return image


@pytest.mark.parametrize("name", ARTEFACTS)
@pytest.mark.parametrize("shape", [(2, 12, 14, 13), (1, 18, 15)])
def test_each_artefact_changes_its_patch_and_is_repeatable(name: str, shape: tuple[int, ...]) -> None:
    settings = AugmentationSettings(**{f"{name}_probability": 1.0})  # type: ignore[arg-type]
    image = patch(*shape)
    before, state = image.clone(), torch.get_rng_state()
    once, again = (
        add_artefacts(image, draw_artefacts(np.random.default_rng(5), len(shape) - 1, settings)) for _ in range(2)
    )
    other = add_artefacts(image, draw_artefacts(np.random.default_rng(6), len(shape) - 1, settings))
    assert once.shape == image.shape
    assert once.dtype == torch.float32
    assert torch.isfinite(once).all()
    assert (once - image).flatten(1).abs().amax(1).min() > 0.01
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert torch.equal(image, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_bias_field_is_smooth_and_multiplies_what_lies_above_the_minimum() -> None:
    image = patch(1, 10, 12, 11)
    draw = draw_artefacts(np.random.default_rng(1), 3, AugmentationSettings(bias_field_probability=1))
    changed = add_artefacts(image, draw)
    low = image.min()
    field = ((changed - low) / (image - low).clamp(min=1e-3))[0, 1:, 1:, 1:]
    inside = (image - low)[0, 1:, 1:, 1:] > 0.05
    assert field[inside].min() > 0
    steps = field.diff(dim=0)[inside[1:] & inside[:-1]].abs()
    assert steps.max() < 0.5 * field[inside].max()
    assert changed.flatten()[image.argmin()] == pytest.approx(low.item(), abs=1e-6)


def test_frequencies_and_ranges() -> None:
    settings = AugmentationSettings(
        bias_field_probability=0.2, motion_probability=0.1, ghosting_probability=0.1, spike_probability=0.05
    )
    rng = np.random.default_rng(0)
    draws = [draw_artefacts(rng, 3, settings) for _ in range(4000)]
    for name, share in zip(ARTEFACTS, (0.2, 0.1, 0.1, 0.05), strict=True):
        found = np.mean([getattr(draw, name) is not None for draw in draws])
        assert abs(found - share) < 4 * np.sqrt(share * (1 - share) / 4000), name
    ghosts = [draw.ghosting for draw in draws if draw.ghosting is not None]
    assert {ghost.number for ghost in ghosts} == set(range(4, 11))
    assert {ghost.axis for ghost in ghosts} == {0, 1, 2}
    assert 0.5 <= min(ghost.intensity for ghost in ghosts) < 0.52
    assert 0.98 < max(ghost.intensity for ghost in ghosts) <= 1
    motions = [draw.motion for draw in draws if draw.motion is not None]
    assert 9.8 < np.abs([motion.degrees for motion in motions]).max() <= 10
    assert all(0 < motion.times[0] < motion.times[1] < 1 for motion in motions)
    spikes = [draw.spike.intensity for draw in draws if draw.spike is not None]
    assert 1 <= min(spikes) < 1.1
    assert 2.9 < max(spikes) <= 3


def test_slices_move_in_plane_only() -> None:
    draw = draw_artefacts(np.random.default_rng(0), 2, ALL)
    assert draw.motion is not None
    assert draw.ghosting is not None
    assert (draw.motion.degrees[:, :2] == 0).all()
    assert (draw.motion.translation[:, 2] == 0).all()
    assert draw.ghosting.axis < 2


def test_outcomes_use_the_same_number_of_draws() -> None:
    states = []
    for settings in (AugmentationSettings(), ALL):
        rng = np.random.default_rng(3)
        draw_artefacts(rng, 3, settings)
        states.append(rng.random())
    assert states[0] == states[1]


def test_nothing_drawn_is_the_patch_itself() -> None:
    image = patch(1, 8, 8, 8)
    assert add_artefacts(image, draw_artefacts(np.random.default_rng(0), 3, AugmentationSettings())) is image
    assert not has_artefacts(AugmentationSettings())
    assert has_artefacts(AugmentationSettings(spike_probability=0.1))


def batches(store: Store, settings: AugmentationSettings, workers: int) -> list[torch.Tensor]:
    spec = PatchSpec((6, 6, 6), 2, spatial=settings)
    dataset = PatchDataset(store, store.cases, spec, LABELS, 0, "training")
    sampler = EpochBatchSampler(2, 2)
    return [b["image"] for b in DataLoader(dataset, batch_sampler=sampler, collate_fn=collate, num_workers=workers)]


def test_workers_0_and_2_draw_the_same(store: Store) -> None:
    alone, shared, plain = batches(store, ALL, 0), batches(store, ALL, 2), batches(store, AugmentationSettings(), 0)
    assert all(torch.equal(one, two) for one, two in zip(alone, shared, strict=True))
    assert not any(torch.equal(one, two) for one, two in zip(alone, plain, strict=True))
