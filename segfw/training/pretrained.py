"""A fresh training that begins with another model's weights instead of random ones."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from segfw.core.labels import LabelSet
from segfw.nn.build import build_network
from segfw.nn.transfer import Transfer, find_ends, transfer
from segfw.training.run import FoldRun

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Pretrained:
    """Weights to begin with, under the network's own names.

    `title`: of where they come from, for messages; `labels`: what the heads stand for, None where that is not known.
    """

    title: str
    weights: Mapping[str, Tensor]
    labels: LabelSet | None = None


def begin_with(network: nn.Module, pretrained: Pretrained, run: FoldRun) -> Transfer:
    """Load into the run's fresh `network` what fits, and say what that was.

    Raises `UsageError` for what `pretrained.on_mismatch` does not allow.
    """
    ends = find_ends(
        lambda channels, heads: build_network(
            run.configuration, channels, heads, run.loss.deep_supervision, run.network.name
        ),
        run.num_channels,
        run.plan.labels.num_heads,
    )
    same_labels = None if pretrained.labels is None else _heads(pretrained.labels) == _heads(run.plan.labels)
    on_mismatch = run.pretrained.on_mismatch if run.pretrained else "error"
    done = transfer(network.state_dict(), pretrained.weights, ends, same_labels, on_mismatch)
    network.load_state_dict(done.weights, strict=False)
    log.info("pretrained: %s from %s", done.summary(), pretrained.title)
    return done


def _heads(labels: LabelSet) -> tuple[object, ...]:
    """Return what the heads stand for, in their order."""
    return labels.has_regions, labels.foreground
