"""The names of weights in nnU-Net v2's state dicts and in ours, both ways.

Our names are a part of theirs. Their decoder holds the encoder a second time and their blocks hold each layer twice, so
that a state dict lists the same tensor under up to four names:

    encoder.stages.0.0.convs.0.conv.weight              the name that is ours too
    encoder.stages.0.0.convs.0.all_modules.0.weight     the block's list of layers; 0 is the convolution, then the norm
    decoder.encoder.stages.0.0.convs.0. ...             both of these again, below the decoder

Distributed or compiled training may put `module.` or `_orig_mod.` before all of them.
"""

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from itertools import groupby

import torch
from torch import Tensor

from segfw.core.errors import ArtefactError

_WRAPPERS = re.compile(r"^(?:(?:module|_orig_mod)\.)+")
_LISTED = re.compile(r"\.all_modules\.(\d+)\.")
_LAYER = re.compile(r"(?P<block>.+)\.(?P<layer>conv|norm)\.(?P<parameter>weight|bias)")
_POSITIONS = {"conv": 0, "norm": 1}


def canonical_name(name: str) -> str:
    """Return our name of the tensor that nnU-Net calls `name`."""
    name = re.sub(r"^decoder\.encoder\.", "encoder.", _WRAPPERS.sub("", name))
    return _LISTED.sub(lambda match: ".conv." if match[1] == "0" else ".norm.", name)


def weights_from_nnunet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of nnU-Net's state dict under our names, each once.

    Raises `ArtefactError` if names of one tensor hold different values, so that it would be unclear which one counts.
    """
    weights: dict[str, Tensor] = {}
    sources: dict[str, str] = {}
    for name, tensor in state.items():
        ours = canonical_name(name)
        if ours not in weights:
            weights[ours], sources[ours] = tensor, name
        elif not _same(weights[ours], tensor):
            raise ArtefactError(f"the weights {sources[ours]} and {name} must be one tensor, but their values differ")
    return weights


def weights_to_nnunet(weights: Mapping[str, Tensor]) -> "OrderedDict[str, Tensor]":
    """Return nnU-Net's state dict of our `weights`, in its order; the further names refer to the same tensors."""
    encoder = {name: tensor for name, tensor in weights.items() if name.startswith("encoder.")}
    decoder = {name: tensor for name, tensor in weights.items() if not name.startswith("encoder.")}
    listed = OrderedDict(_with_lists(encoder))
    state = OrderedDict(listed)
    state.update((f"decoder.{name}", tensor) for name, tensor in listed.items())
    state.update(_with_lists(decoder))
    return state


def _with_lists(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield the entries, those of each block followed by the ones of its list of layers."""
    for _, group in groupby(weights.items(), key=lambda entry: _block(entry[0])):
        entries = list(group)
        yield from entries
        for name, tensor in entries:
            match = _LAYER.fullmatch(name)
            if match:
                yield f"{match['block']}.all_modules.{_POSITIONS[match['layer']]}.{match['parameter']}", tensor


def _block(name: str) -> str:
    match = _LAYER.fullmatch(name)
    return match["block"] if match else name


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.data_ptr() == other.data_ptr() and one.stride() == other.stride():
        return True
    return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
