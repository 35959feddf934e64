"""Artefacts of MRI scanners, made by TorchIO on the patch of one sample, in the process that cut it.

Drawing and applying are apart: all random numbers come from the sample's generator, none from a global one. A scanner's
intensities start at 0, so that each channel is shifted to begin there and back. Ranges: TorchIO's defaults
(Perez-Garcia et al., Computer Methods and Programs in Biomedicine 208, 2021).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segfw.core.settings.training import AugmentationSettings
from segfw.core.types import FloatArray

ORDER, COEFFICIENTS = 3, 20  # of a polynomial in three variables
MOVEMENTS = 2
JITTER = 0.3  # of the times of the movements, share of the time between them
GHOSTS = (4, 10)


@dataclass(frozen=True, eq=False)
class Motion:
    """Two movements: rotations in degrees and translations in voxels (2, 3), and when, as shares of the scan (2,)."""

    degrees: FloatArray
    translation: FloatArray
    times: FloatArray


@dataclass(frozen=True)
class Ghosting:
    """How many ghosts, along which axis of the patch, how strong."""

    number: int
    axis: int
    intensity: float


@dataclass(frozen=True, eq=False)
class Spike:
    """Where in the spectrum, as shares of its axes (1, 3), and how high, in its maxima."""

    position: FloatArray
    intensity: float


@dataclass(frozen=True, eq=False)
class ArtefactDraw:
    """What happens to one patch; None for what does not. `bias_field`: the polynomial's coefficients (20,)."""

    bias_field: FloatArray | None
    motion: Motion | None
    ghosting: Ghosting | None
    spike: Spike | None


def has_artefacts(settings: AugmentationSettings) -> bool:
    """Whether any artefact of this module can happen."""
    s = settings
    return max(s.bias_field_probability, s.motion_probability, s.ghosting_probability, s.spike_probability) > 0


def draw_artefacts(rng: np.random.Generator, ndim: int, settings: AugmentationSettings) -> ArtefactDraw:
    """Draw the artefacts of a patch with 2 or 3 axes; the same number of random numbers is used whatever comes out."""
    biased, moves, ghosts, spikes = rng.random(4) < (
        settings.bias_field_probability,
        settings.motion_probability,
        settings.ghosting_probability,
        settings.spike_probability,
    )
    coefficients = rng.uniform(-1, 1, COEFFICIENTS) * settings.bias_field_coefficient
    degrees = rng.uniform(-1, 1, (MOVEMENTS, 3)) * settings.motion_degrees
    translation = rng.uniform(-1, 1, (MOVEMENTS, 3)) * settings.motion_translation
    if ndim == 2:  # within the slice
        degrees[:, :2], translation[:, 2] = 0, 0
    step = 1 / (MOVEMENTS + 1)
    times = step * (np.arange(1, MOVEMENTS + 1) + rng.uniform(-JITTER, JITTER, MOVEMENTS))
    number, axis, ghost_share, spike_share, *place = rng.random(7)
    ghosting = Ghosting(
        GHOSTS[0] + int(number * (GHOSTS[1] + 1 - GHOSTS[0])),
        int(axis * ndim),
        _between(settings.ghosting_range, ghost_share),
    )
    return ArtefactDraw(
        coefficients if biased else None,
        Motion(degrees, translation, times) if moves else None,
        ghosting if ghosts else None,
        Spike(np.array([place]), _between(settings.spike_range, spike_share)) if spikes else None,
    )


def add_artefacts(image: Tensor, draw: ArtefactDraw) -> Tensor:
    """Return the patch (C, *F) float32 with the artefacts of `draw`; itself where there is none."""
    if draw.bias_field is None and draw.motion is None and draw.ghosting is None and draw.spike is None:
        return image
    import torchio

    transforms: list[torchio.Transform] = []
    if draw.bias_field is not None:
        transforms.append(torchio.BiasField(draw.bias_field.tolist(), ORDER))
    if draw.motion is not None:
        motion = draw.motion
        transforms.append(torchio.Motion(motion.degrees, motion.translation, motion.times, "linear"))
    if draw.ghosting is not None:
        ghosting = draw.ghosting
        transforms.append(torchio.Ghosting(ghosting.number, ghosting.axis, ghosting.intensity, None))
    if draw.spike is not None:
        transforms.append(torchio.Spike(draw.spike.position, draw.spike.intensity))
    low = image.flatten(1).amin(1).reshape(-1, *(1,) * (image.ndim - 1))
    flat = image.ndim == 3
    volume = (image - low)[..., None] if flat else image - low
    with torch.random.fork_rng(devices=[]):  # TorchIO asks the global generator whether to apply what it is told to
        for transform in transforms:
            volume = transform(volume)
    changed: Tensor = torch.as_tensor(volume, dtype=torch.float32)
    return (changed[..., 0] if flat else changed) + low


def _between(limits: tuple[float, float], share: float) -> float:
    return limits[0] + share * (limits[1] - limits[0])
