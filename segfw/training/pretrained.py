"""A fresh training that begins with another model's weights instead of random ones."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from segfw.core.labels import LabelSet
from segfw.nn.build import build_network
from segfw.nn.own_network import without_values
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


def match(pretrained: Pretrained, run: FoldRun) -> Transfer:
    """Decide what the run's network takes over, without building it in memory where that goes.

    Raises `UsageError` for what `pretrained.on_mismatch` does not allow.
    """

    def build(num_channels: int, num_heads: int) -> nn.Module:
        return build_network(run.configuration, num_channels, num_heads, run.loss.deep_supervision, run.network)

    num_channels, num_heads = run.num_channels, run.plan.labels.num_heads
    target = without_values(lambda: build(num_channels, num_heads)).state_dict()
    same_labels = None if pretrained.labels is None else _heads(pretrained.labels) == _heads(run.plan.labels)
    on_mismatch = run.pretrained.on_mismatch if run.pretrained else "error"
    ends = find_ends(build, num_channels, num_heads)
    return transfer(target, pretrained.weights, ends, same_labels, on_mismatch)


def begin_with(network: nn.Module, pretrained: Pretrained, run: FoldRun) -> Transfer:
    """Load into the run's fresh `network` what fits, and say what that was."""
    done = match(pretrained, run)
    network.load_state_dict(done.weights, strict=False)
    log.info("pretrained: %s; from %s", done.summary(), pretrained.title)
    if done.is_mostly_fresh:
        log.warning(
            "pretrained: more than half of the network's tensors are left fresh (%d of %d), so that this is hardly a "
            "training from %s; is it of the same architecture and plan? train.log tells of each tensor",
            *(len(done.left), len(done.left) + len(done.weights), pretrained.title),
        )
    return done


def _heads(labels: LabelSet) -> tuple[object, ...]:
    """Return what the heads stand for, in their order."""
    return labels.has_regions, labels.foreground
