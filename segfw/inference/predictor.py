"""Whole cases through trained networks: preprocess, slide windows, average folds, restore.

Folds of one configuration are averaged as logits, window by window: averaging is linear, so this equals averaging whole
maps, and only one map of logits is ever held. Different configurations see different grids and are averaged as
probabilities on the image's.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segfw.core.errors import ArtefactError, DataError, UsageError
from segfw.core.imaging.preprocessing import PreprocessedCase, preprocess_case
from segfw.core.plan import Plan
from segfw.core.scoring.postprocessing import apply_steps
from segfw.core.settings.schema import InferenceSettings
from segfw.core.support.words import by, counted
from segfw.core.types import IntArray, Spacing, Volume
from segfw.inference.bundle import Bundle, Member
from segfw.inference.cascade import FedNetwork
from segfw.inference.case_memory import open_memory
from segfw.inference.device_resampling import resampling_on
from segfw.inference.memory import Budget
from segfw.inference.restoring import (
    LogitMap,
    restore_ensemble,
    restore_ensemble_probabilities,
    restore_uncertainty,
    segment_for_next_stage,
    stream_probabilities,
)
from segfw.inference.restoring_planes import Place
from segfw.inference.sliding_window import Means, predict_logits
from segfw.inference.uncertainty import check_can_disagree, sample_logits
from segfw.nn.build import build_network, check_weights, cut, lay_channels_last, network_shapes

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of one image, on the image's own grid.

    `segmentation`: label map `(Z, Y, X)`, postprocessed, which neither of the others is; `probabilities`: float32
    `(heads, Z, Y, X)`, one per label (background first) or per region, None unless asked for; `uncertainty`: float32
    `(Z, Y, X)` in nats (see `uncertainty`), likewise.
    """

    segmentation: IntArray
    probabilities: NDArray[np.float32] | None = None
    uncertainty: NDArray[np.float32] | None = None


PreparedImage = Mapping[str, PreprocessedCase]
"""An image as each configuration of a model sees it, by name, those of first stages among them."""


@dataclass(frozen=True, eq=False)
class CaseLogits:
    """What the networks say of a case, configuration by configuration. `disagreements`: empty unless asked for."""

    maps: tuple[LogitMap, ...]
    disagreements: tuple[LogitMap, ...] = ()


class AveragedNetwork(nn.Module):
    """The mean of several networks' logits."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, windows: Tensor) -> Tensor:
        """Return the mean logits of a batch of windows."""
        total: Tensor = self.networks[0](windows).float()
        for network in self.networks[1:]:
            total = total + network(windows).float()
        return total / len(self.networks)


class CasePredictor:
    """A packaged model, ready to segment volumes on `device`.

    `settings`: None takes the model's own. `trust_code`: import the networks that the model names where they are none
    of this package's; that runs their code. Networks are built once, here. Raises `ArtefactError` when weights do not
    fit their network; `UsageError` for code that is not trusted and for settings that the model's networks do not have.

    A configuration that another one of the model takes as its previous stage serves that one alone: its segmentation
    is made on the next stage's grid, as it was for training, and does not count by itself.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: torch.device | str,
        settings: InferenceSettings | None = None,
        trust_code: bool = False,
    ) -> None:
        self.bundle = bundle
        self.device = torch.device(device)
        self.settings = settings or bundle.inference
        check_trust(bundle, trust_code)
        self._members: dict[str, list[nn.Module]] = {}
        for member in bundle.members:
            network = load_network(bundle.plan, member).to(self.device).eval()
            if self.device.type == "cpu" and member.target is None:
                lay_channels_last(network, bundle.plan.configuration(member.configuration))
            cut(network, self.settings.depth)
            if bundle.plan.configuration(member.configuration).previous_stage is not None:
                network = FedNetwork(network, bundle.plan.labels.foreground_values)
            self._members.setdefault(member.configuration, []).append(network)
        _check_depth(bundle, self.settings)
        if self.settings.uncertainty:
            self._check_can_disagree()
        foreign = any(member.target is not None for member in bundle.members)
        self._memory = open_memory(bundle.plan, self._members, foreign, self.settings, self.device)
        self._memory.announce(self.settings.uncertainty)

    def predict(self, volume: Volume, probabilities: bool = False, uncertainty: bool | None = None) -> Prediction:
        """Segment one image `(C, Z, Y, X)` as it was read; `DataError` for a wrong number of channels.

        `uncertainty`: None follows the settings. With it, the segmentation of a network with dropout is that of its
        Monte Carlo samples' mean. The same as the three steps below, one after another.
        """
        prepared = self.prepare(volume)
        self.tell_padding(volume, "the image")
        return self.restore(self.compute(prepared, uncertainty), probabilities)

    def prepare(self, volume: Volume) -> PreparedImage:
        """Preprocess an image for every configuration; `volume` is not needed any more.

        `DataError` for a wrong number of channels, and for a 2D image where all networks are 3D.
        """
        plan = self.bundle.plan
        names, found = list(plan.channel_names), volume.array.shape[0]
        if found != len(names):
            read_as = (
                "; the fourth axis of a 4D file, or the colors of a picture, are its channels" if found > 1 else ""
            )
            raise DataError(f"the model takes {counted(len(names), 'channel')} {names}, got {found}{read_as}")
        if volume.is_2d and self._is_3d:
            raise DataError(
                f"the image is 2D, {by(volume.shape)} voxels, and the model was trained on 3D images "
                f"({', '.join(self._members)}); give the whole image, or a model of the configuration 2d"
            )
        resample = resampling_on(self.device)
        return {name: preprocess_case(volume, None, plan, plan.configuration(name), resample) for name in self._members}

    def tell_padding(self, volume: Volume, case: str) -> None:
        """Warn of a 3D image with one slice, which networks that see none but 3D windows get padded with zeros."""
        if self._is_3d and min(volume.shape) == 1:
            log.warning(
                "%s has one slice, %s voxels, and is padded with zeros: the model was trained on 3D images (%s)",
                *(case, by(volume.shape), ", ".join(self._members)),
            )

    @property
    def _is_3d(self) -> bool:
        return not any(self.bundle.plan.configuration(name).is_2d for name in self._members)

    def relative_size(self, image: PreparedImage) -> float:
        """Return how many times as many voxels an image has, as its networks see it, as the median planned for."""
        return max(
            prod(case.image.shape[1:]) / prod(self.bundle.plan.configuration(name).median_image_size_in_voxels)
            for name, case in image.items()
        )

    def compute(self, image: PreparedImage, uncertainty: bool | None = None) -> CaseLogits:
        """Compute the logits of every configuration that counts, and how far samples disagree if that is asked for.

        Raises `JobError` for a case that memory does not suffice for, or that `inference.memory_gb` does not allow.
        """
        plan = self.bundle.plan
        uncertain = self.settings.uncertainty if uncertainty is None else uncertainty
        if uncertain:
            self._check_can_disagree()
        budget = self._memory.check(image, uncertain)
        maps, disagreements = [], []
        for name in self.bundle.last_stages:
            networks, case = self._members[name], self._with_previous_stage(image, name, budget)
            if not uncertain:
                maps.append(LogitMap(self._mean_logits(case, name, budget), case.record, plan.configuration(name)))
                continue
            compute = partial(self._logits, case, name, budget)
            sampled = sample_logits(networks, compute, self.settings, plan.labels.has_regions)
            maps.append(LogitMap(sampled.logits, case.record, plan.configuration(name)))
            disagreements.append(LogitMap(sampled.disagreement, case.record, plan.configuration(name)))
        return CaseLogits(tuple(maps), tuple(disagreements))

    def restore(
        self, logits: CaseLogits, probabilities: bool = False, probabilities_file: Path | None = None
    ) -> Prediction:
        """Bring a case back onto the image's grid, on the device while its memory suffices.

        `probabilities_file`: where to write them, as `stream_probabilities` does, without holding all in memory.
        """
        return self._memory.places.run(partial(self._restore, logits, probabilities, probabilities_file))

    def _restore(self, logits: CaseLogits, probabilities: bool, file: Path | None, place: Place) -> Prediction:
        plan = self.bundle.plan
        if file is not None:
            stream_probabilities(logits.maps, plan, file, place)
        return Prediction(
            self._postprocess(restore_ensemble(logits.maps, plan, place), logits.maps[0].record.spacing),
            restore_ensemble_probabilities(logits.maps, plan, place) if probabilities else None,
            restore_uncertainty(logits.maps, logits.disagreements, plan, place) if logits.disagreements else None,
        )

    def _postprocess(self, segmentation: IntArray, spacing: Spacing) -> IntArray:
        """Apply the model's steps, if it has any and they are wanted. `spacing`: of the image's own grid."""
        steps = self.bundle.postprocessing if self.settings.postprocessing else ()
        return apply_steps(segmentation, steps, spacing) if steps else segmentation

    def _with_previous_stage(self, image: PreparedImage, name: str, budget: Budget) -> PreprocessedCase:
        """Return the image as a configuration takes it: a second stage's last channel is the previous segmentation."""
        plan, case = self.bundle.plan, image[name]
        previous = plan.configuration(name).previous_stage
        if previous is None:
            return case
        first, chosen = self._with_previous_stage(image, previous, budget), plan.configuration(previous)
        logits, shape = self._mean_logits(first, previous, budget), case.record.resampled_shape
        segmentation = self._memory.places.run(
            partial(segment_for_next_stage, logits, first.record, plan, chosen, shape)
        )
        return replace(case, image=np.concatenate([case.image, segmentation[None].astype(np.float32)]))

    def _mean_logits(self, case: PreprocessedCase, name: str, budget: Budget) -> Tensor:
        networks = self._members[name]
        return self._logits(case, name, budget, AveragedNetwork(networks) if len(networks) > 1 else networks[0])

    def _logits(self, case: PreprocessedCase, name: str, budget: Budget, network: nn.Module) -> Tensor:
        axes, means = self.bundle.mirror_axes, self._memory.means[name]
        return logit_map(network, case, self.bundle.plan, name, self.settings, axes, means, budget).logits

    def _check_can_disagree(self) -> None:
        last = self.bundle.last_stages
        networks = [network for name in last for network in self._members[name]]
        members = [member for member in self.bundle.members if member.configuration in last]
        check_can_disagree(networks, [self.bundle.architecture(member) for member in members])


def check_trust(bundle: Bundle, trust_code: bool) -> None:
    """Refuse to import what a model merely names, unless its user has said that it may be."""
    foreign = sorted({member.target for member in bundle.members if member.target is not None})
    if foreign and not trust_code:
        raise UsageError(
            f"the model's network is {', '.join(foreign)}, code that is not part of the model and would be run; if you "
            "have it and trust it, give inference.trust_code=true (export: trust_code=true; in Python trust_code=True)"
        )


def _check_depth(bundle: Bundle, settings: InferenceSettings) -> None:
    """Refuse to cut a network that was trained at its full depth only."""
    loss = bundle.provenance.settings.get("loss")
    if settings.depth is not None and isinstance(loss, dict) and loss.get("deep_supervision") is False:
        raise UsageError(
            f"inference.depth={settings.depth}: this model was trained at its full depth only "
            "(loss.deep_supervision=false), so that it cannot be cut"
        )


def logit_map(
    network: nn.Module,
    case: PreprocessedCase,
    plan: Plan,
    configuration: str,
    settings: InferenceSettings,
    mirror_axes: tuple[int, ...],
    means: Means | None = None,
    budget: Budget | None = None,
) -> LogitMap:
    """Compute the logits of a preprocessed case; restore them with `restoring`.

    `mirror_axes` that the configuration's window lacks are left out; `means`, `budget`: see `predict_logits`.
    """
    chosen = plan.configuration(configuration)
    axes = tuple(axis for axis in mirror_axes if axis < len(chosen.patch_size))
    image = torch.from_numpy(np.ascontiguousarray(case.image))
    logits = predict_logits(network, image, chosen.patch_size, settings, axes, plan.labels.num_heads, means, budget)
    return LogitMap(logits, case.record, chosen)


def load_network(plan: Plan, member: Member) -> nn.Module:
    """Build the network of a member with its weights, on the CPU, with a single output.

    Raises `ArtefactError` when the weights do not fit, `UsageError` for code of others that cannot be imported.
    """
    configuration = plan.configuration(member.configuration)
    counts = plan.num_inputs(configuration), plan.labels.num_heads
    if member.target is None:  # code of others need not work without values
        try:
            check_weights(member.weights, network_shapes(configuration, *counts, network=member.settings))
        except ArtefactError as error:
            raise ArtefactError(f"{member.configuration}, fold {member.fold}: {error}") from error
    network = build_network(configuration, *counts, deep_supervision=False, network=member.settings)
    try:
        network.load_state_dict(dict(member.weights))
    except RuntimeError as error:
        raise ArtefactError(
            f"{member.configuration}, fold {member.fold}: the weights do not fit {member.target or member.network}: "
            f"{error}"
        ) from error
    return network
