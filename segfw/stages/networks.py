"""What the networks of a command cost, counted without building those of the package; a user's own is tried out."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segfw.core.plan import ARCHITECTURES, Configuration, Plan
from segfw.core.planning.cost import forward_flops, parameter_count
from segfw.core.planning.network_fit import as_built, plan_as_built
from segfw.core.planning.planners import estimated_gpu_memory_gb
from segfw.core.settings.schema import NetworkSettings
from segfw.nn.build import build_network
from segfw.nn.own_network import try_own_network
from segfw.tracking.network_table import NetworkRow


@dataclass(frozen=True)
class NetworkCost:
    """Parameters of a network, and operations of one forward pass over a training batch (None: not to be known)."""

    parameters: int
    flops: float | None


def network_cost(plan: Plan, configuration: Configuration, network: NetworkSettings) -> NetworkCost:
    """Count what `network` costs on `configuration`.

    Raises `UsageError` for arguments that it does not take, and for a network of the user's that does not work.
    """
    channels, heads = plan.num_inputs(configuration), plan.labels.num_heads
    built = as_built(configuration, network)
    if built is None:
        return _cost_of_own(try_own_network(network, configuration, channels, heads), configuration, channels)
    with torch.device("meta"):
        build_network(configuration, channels, heads, network=network)  # which refuses wrong arguments
    return NetworkCost(parameter_count(built, channels, heads), forward_flops(built, channels, heads))


def compared_networks(plan: Plan, own: NetworkSettings) -> tuple[NetworkRow, ...]:
    """Return what every network would cost on every configuration of `plan`, the user's own too if there is one."""
    networks = [NetworkSettings(name) for name in ARCHITECTURES] + ([own] if own.target is not None else [])
    rows = []
    for name, configuration in plan.configurations.items():
        for network in networks:
            cost = network_cost(plan, configuration, network)
            built = plan_as_built(plan, network)
            rows.append(
                NetworkRow(
                    configuration=name,
                    network=network.name + (" (planned)" if network.name == configuration.architecture else ""),
                    parameters=cost.parameters,
                    flops=None if cost.flops is None else cost.flops / configuration.batch_size,
                    memory_gb=None if network.target else estimated_gpu_memory_gb(built, name),
                )
            )
    return tuple(rows)


@torch.no_grad()
def _cost_of_own(network: nn.Module, configuration: Configuration, channels: int) -> NetworkCost:
    """Count parameters, and operations where that goes without computing: on PyTorch's meta device."""
    parameters = list(network.parameters())
    count = sum(parameter.numel() for parameter in parameters)
    if not parameters or parameters[0].device.type != "meta":
        return NetworkCost(count, None)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, channels, *configuration.patch_size))
    return NetworkCost(count, float(configuration.batch_size * counter.get_total_flops()))
