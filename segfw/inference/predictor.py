"""Whole cases through trained networks: preprocess, slide windows, average folds, restore.

Folds of one configuration are averaged as logits, window by window: averaging is linear, so this equals averaging whole
maps, and only one map of logits is ever held. Different configurations see different grids and are averaged as
probabilities on the image's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segfw.core.errors import ArtefactError, DataError, UsageError
from segfw.core.plan import Plan
from segfw.core.preprocessing import PreprocessedCase, preprocess_case
from segfw.core.settings import InferenceSettings
from segfw.core.types import IntArray, Volume
from segfw.inference.bundle import Bundle, Member
from segfw.inference.cascade import FedNetwork
from segfw.inference.restoring import (
    LogitMap,
    restore_ensemble,
    restore_ensemble_probabilities,
    restore_uncertainty,
    segment_for_next_stage,
)
from segfw.inference.sliding_window import predict_logits
from segfw.inference.uncertainty import check_can_disagree, sample_logits
from segfw.nn.build import build_network, check_weights, cut, lay_channels_last, network_shapes


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of one image, on the image's own grid.

    `segmentation`: label map `(Z, Y, X)`; `probabilities`: float32 `(heads, Z, Y, X)`, one per label (background first)
    or per region, None unless asked for; `uncertainty`: float32 `(Z, Y, X)` in nats (see `uncertainty`), likewise.
    """

    segmentation: IntArray
    probabilities: NDArray[np.float32] | None = None
    uncertainty: NDArray[np.float32] | None = None


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

    def predict(self, volume: Volume, probabilities: bool = False, uncertainty: bool | None = None) -> Prediction:
        """Segment one image `(C, Z, Y, X)` as it was read; `DataError` for a wrong number of channels.

        `uncertainty`: None follows the settings. With it, the segmentation of a network with dropout is that of its
        Monte Carlo samples' mean.
        """
        plan = self.bundle.plan
        names, found = list(plan.channel_names), volume.array.shape[0]
        if found != len(names):
            raise DataError(f"the model takes {len(names)} channels {names}, got {found}")
        uncertain = self.settings.uncertainty if uncertainty is None else uncertainty
        if uncertain:
            self._check_can_disagree()
        maps, disagreements = [], []
        for name in self.bundle.last_stages:
            networks, case = self._members[name], self._preprocess(volume, name)
            if not uncertain:
                network = AveragedNetwork(networks) if len(networks) > 1 else networks[0]
                maps.append(LogitMap(self._logits(case, name, network), case.record, plan.configuration(name)))
                continue
            compute = partial(self._logits, case, name)
            sampled = sample_logits(networks, compute, self.settings, plan.labels.has_regions)
            maps.append(LogitMap(sampled.logits, case.record, plan.configuration(name)))
            disagreements.append(LogitMap(sampled.disagreement, case.record, plan.configuration(name)))
        return Prediction(
            restore_ensemble(maps, plan),
            restore_ensemble_probabilities(maps, plan) if probabilities else None,
            restore_uncertainty(maps, disagreements, plan) if uncertain else None,
        )

    def _preprocess(self, volume: Volume, name: str) -> PreprocessedCase:
        """Preprocess an image for a configuration; for a second stage the previous segmentation is the last channel."""
        plan = self.bundle.plan
        case = preprocess_case(volume, None, plan, plan.configuration(name))
        previous = plan.configuration(name).previous_stage
        if previous is None:
            return case
        first, networks = self._preprocess(volume, previous), self._members[previous]
        logits = self._logits(first, previous, AveragedNetwork(networks) if len(networks) > 1 else networks[0])
        segmentation = segment_for_next_stage(
            logits, first.record, plan, plan.configuration(previous), case.record.resampled_shape
        )
        return replace(case, image=np.concatenate([case.image, segmentation[None].astype(np.float32)]))

    def _logits(self, case: PreprocessedCase, name: str, network: nn.Module) -> Tensor:
        return logit_map(network, case, self.bundle.plan, name, self.settings, self.bundle.mirror_axes).logits

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
) -> LogitMap:
    """Compute the logits of a preprocessed case; restore them with `restoring`.

    `mirror_axes` that the configuration's window lacks are left out.
    """
    chosen = plan.configuration(configuration)
    axes = tuple(axis for axis in mirror_axes if axis < len(chosen.patch_size))
    image = torch.from_numpy(np.ascontiguousarray(case.image))
    logits = predict_logits(network, image, chosen.patch_size, settings, axes, plan.labels.num_heads)
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
