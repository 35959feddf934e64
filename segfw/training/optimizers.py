"""The optimizers of PyTorch that a run may name."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from segfw.core.settings.training import OptimizerSettings

FUSED = ("sgd", "adam", "adamw")
"""Those that PyTorch has as one kernel, on CUDA and on the CPU."""


def _sgd(settings: OptimizerSettings) -> dict[str, Any]:
    return {"momentum": settings.momentum, "nesterov": settings.nesterov and settings.momentum > 0}


def _moments(settings: OptimizerSettings) -> dict[str, Any]:
    return {"betas": settings.betas}


def _adam(settings: OptimizerSettings) -> dict[str, Any]:
    return {"betas": settings.betas, "amsgrad": settings.amsgrad}


def _rmsprop(settings: OptimizerSettings) -> dict[str, Any]:
    return {"momentum": settings.momentum}


OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], Callable[[OptimizerSettings], dict[str, Any]]]] = {
    "sgd": (torch.optim.SGD, _sgd),
    "adam": (torch.optim.Adam, _adam),
    "adamw": (torch.optim.AdamW, _adam),
    "nadam": (torch.optim.NAdam, _moments),
    "radam": (torch.optim.RAdam, _moments),
    "rmsprop": (torch.optim.RMSprop, _rmsprop),
}


def build_optimizer(
    settings: OptimizerSettings, parameters: Iterable[nn.Parameter], fused: bool = False
) -> torch.optim.Optimizer:
    """Build the optimizer over all parameters, biases and norms included; `fused`: as one kernel where there is one."""
    kind, arguments = OPTIMIZERS[settings.name]
    given = {"lr": settings.lr, "weight_decay": settings.weight_decay, **arguments(settings)}
    if fused and settings.name in FUSED:
        given["fused"] = True
    return kind(parameters, **given)
