"""How many bytes of tensors a network holds at once in a forward pass, found out on a small window."""

import math
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from segfw.core.types import Shape


class _Ledger(TorchDispatchMode):
    """Adds up the storages that operations make and, when nothing refers to them any more, give back."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not annotate it
        self.held = self.peak = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._note(leaf.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def forget(_: object) -> None:
            self.held -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, forget)
        self.held += size
        self.peak = max(self.peak, self.held)


@torch.inference_mode()
def bytes_per_voxel(network: nn.Module, num_channels: int, tile: Shape) -> float:
    """Return the bytes of tensors that live at once in a forward pass, per voxel of the window.

    One window of zeros `(num_channels, *tile)` is computed where the network lies, as predictions are (`autocast`);
    what each voxel takes hardly depends on the tile. Parameters and the window itself are not counted.
    """
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    window, ledger = torch.zeros(1, num_channels, *tile, device=device), _Ledger()
    with autocast(device), ledger:
        network(window)
    return ledger.peak / math.prod(tile)


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Compute in half precision on CUDA, as in training; elsewhere as it is."""
    return torch.autocast("cuda") if device.type == "cuda" else nullcontext()


def small_tile(tile: Shape, strides: Sequence[Shape]) -> Shape:
    """Return a window no larger than `tile` that a network of these strides takes: two voxels at its lowest stage."""
    return tuple(min(n, 2 * math.prod(axis)) for n, axis in zip(tile, zip(*strides, strict=True), strict=True))
