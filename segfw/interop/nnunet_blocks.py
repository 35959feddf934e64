"""The arguments of nnU-Net's networks that make their blocks: only those whose blocks are ours are accepted."""

import json
from typing import Any

from segfw.core.errors import ArtefactError
from segfw.interop.nnunet_entries import entry_of

ENCODER_COUNTS = {"unet": "n_conv_per_stage", "residual_unet": "n_blocks_per_stage"}
_READ_ARGUMENTS = {
    *("n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides", "n_conv_per_stage_decoder"),
    *(*ENCODER_COUNTS.values(), "conv_bias", "norm_op", "norm_op_kwargs", "nonlin", "nonlin_kwargs", "dropout_op"),
    *("block", "stem_channels"),
    # without effect: these belong to what is off, and deep supervision to the training
    *("dropout_op_kwargs", "squeeze_excitation_reduction_ratio", "deep_supervision"),
}
_SWITCHES_OFF: dict[str, tuple[Any, ...]] = {"stochastic_depth_p": (0.0, None), "pool_type": ("conv",)}
"""What the arguments of nnU-Net's networks that are not read here may be; all others null or false."""


def refuse_other_blocks(arguments: dict[str, Any], place: str) -> None:
    """Refuse blocks other than convolution with bias, instance normalization and leaky ReLU, without dropout.

    Of the arguments of these, PyTorch's defaults hold where the file names none.
    """
    norm, nonlin = (
        {} if arguments.get(key) is None else entry_of(arguments, key, dict, place=place)
        for key in ("norm_op_kwargs", "nonlin_kwargs")
    )
    wanted: dict[str, tuple[bool, str]] = {
        "conv_bias": (arguments.get("conv_bias") is True, "true"),
        "norm_op": ("InstanceNorm" in str(arguments.get("norm_op")), "an InstanceNorm"),
        "norm_op_kwargs": (norm.get("affine") is True and norm.get("eps", 1e-5) == 1e-5, "eps 1e-05 and affine"),
        "dropout_op": (arguments.get("dropout_op") is None, "null"),
        "nonlin": (str(arguments.get("nonlin")).endswith("LeakyReLU"), "LeakyReLU"),
        "nonlin_kwargs": (nonlin.get("negative_slope", 0.01) == 0.01, "a negative_slope of 0.01"),
    }
    for key, (fits, allowed) in wanted.items():
        if not fits:
            raise ArtefactError(f"{place}.{key} must be {allowed}, got {arguments.get(key)!r}")
    _refuse_switches(arguments, place)


def _refuse_switches(arguments: dict[str, Any], place: str) -> None:
    """Refuse what changes a network beyond its topology and is off unless given.

    Most of it leaves the names and shapes of the weights alone, so that only what the network computes would tell.
    """
    block = str(arguments.get("block", "BasicBlockD"))
    if block.rpartition(".")[2] != "BasicBlockD":
        raise ArtefactError(f"{place}.block must be BasicBlockD, got {block!r}")
    stem, features = arguments.get("stem_channels"), arguments.get("features_per_stage")
    first = features[0] if isinstance(features, list) and features else features
    if stem not in (None, first):
        raise ArtefactError(f"{place}.stem_channels must be null or the first stage's {first!r} features, got {stem!r}")
    for key, value in arguments.items():
        off = _SWITCHES_OFF.get(key, (None, False))
        if key not in _READ_ARGUMENTS and value not in off:
            allowed = " or ".join(json.dumps(one) for one in off)
            raise ArtefactError(f"{place}.{key}: no equivalent of {value!r}; it must be {allowed}, or left out")
