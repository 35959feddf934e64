"""Whole cases through trained networks: preprocess, slide windows, average folds, restore.

Folds of one configuration are averaged as logits, window by window: averaging is linear, so this equals averaging whole
maps, and only one map of logits is ever held. Different configurations see different grids and are averaged as
probabilities on the image's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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
from segfw.inference.restoring import LogitMap, restore_ensemble, restore_ensemble_probabilities
from segfw.inference.sliding_window import predict_logits
from segfw.nn.build import build_network


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of one image, on the image's own grid.

    `segmentation`: label map `(Z, Y, X)`; `probabilities`: float32 `(heads, Z, Y, X)`, one per label (background first)
    or per region, None unless asked for.
    """

    segmentation: IntArray
    probabilities: NDArray[np.float32] | None = None


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

    `settings`: None takes the model's own. Networks are built once, here. Raises `ArtefactError` when weights do not
    fit their network, `UsageError` for a configuration that needs another one's segmentation as input.
    """

    def __init__(self, bundle: Bundle, device: torch.device | str, settings: InferenceSettings | None = None) -> None:
        self.bundle = bundle
        self.device = torch.device(device)
        self.settings = settings or bundle.inference
        folds: dict[str, list[nn.Module]] = {}
        for member in bundle.members:
            folds.setdefault(member.configuration, []).append(load_network(bundle.plan, member))
        self._networks = {
            name: (AveragedNetwork(networks) if len(networks) > 1 else networks[0]).to(self.device).eval()
            for name, networks in folds.items()
        }

    def predict(self, volume: Volume, probabilities: bool = False) -> Prediction:
        """Segment one image `(C, Z, Y, X)` as it was read; `DataError` for a wrong number of channels."""
        plan = self.bundle.plan
        names, found = list(plan.channel_names), volume.array.shape[0]
        if found != len(names):
            raise DataError(f"the model takes {len(names)} channels {names}, got {found}")
        maps = []
        for name, network in self._networks.items():
            case = preprocess_case(volume, None, plan, plan.configuration(name))
            maps.append(logit_map(network, case, plan, name, self.settings, self.bundle.mirror_axes))
        segmentation = restore_ensemble(maps, plan)
        return Prediction(segmentation, restore_ensemble_probabilities(maps, plan) if probabilities else None)


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

    Raises `ArtefactError` when the weights do not fit, `UsageError` for a configuration of a cascade.
    """
    configuration = plan.configuration(member.configuration)
    if configuration.previous_stage is not None:
        raise UsageError(
            f"configuration {member.configuration!r} takes the segmentation of {configuration.previous_stage!r} as "
            "input, which prediction does not provide; choose a model of another configuration"
        )
    network = build_network(
        configuration, len(plan.channel_names), plan.labels.num_heads, deep_supervision=False, network=member.network
    )
    try:
        network.load_state_dict(dict(member.weights))
    except RuntimeError as error:
        raise ArtefactError(
            f"the weights of {member.configuration}, fold {member.fold}, do not fit: {error}"
        ) from error
    return network
