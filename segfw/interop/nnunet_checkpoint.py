"""nnU-Net v2's `checkpoint_*.pth`: read as data, without running anything that a file may ask for.

PyTorch's restricted unpickler (`weights_only=True`) makes tensors and plain containers. nnU-Net's files also hold numpy
scalars: its training curves. For the names that numpy gives to these the stand-ins below are allowed, and nothing else;
they make a plain number of a plain type or refuse. Whatever else a file names ends the reading, before it is called.
"""

import pickle
import re
import reprlib
import threading
from _codecs import encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

from segfw.core.errors import ArtefactError
from segfw.interop.nnunet_weights import weights_from_nnunet
from segfw.nn.torch_file import check_tensors, read_torch_file

_PLAIN_KINDS = "biuf"
_lock = threading.Lock()


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a checkpoint says beside the optimizer's state.

    `weights`: on the CPU, float32, under our names; `trainer`: name of nnU-Net's class; `mirror_axes`: of the window,
    along which the training mirrored; `epochs`: completed ones, None where the file does not tell.
    """

    weights: dict[str, Tensor]
    trainer: str
    configuration: str
    mirror_axes: tuple[int, ...]
    epochs: int | None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of nnU-Net v2. `ArtefactError` says why a file is refused."""
    content = _content(path)
    trainer, given = content.get("trainer_name"), content.get("init_args")
    configuration = given.get("configuration") if isinstance(given, dict) else None
    axes, epochs = content.get("inference_allowed_mirroring_axes"), content.get("current_epoch")
    if not isinstance(trainer, str) or not trainer.isidentifier() or not isinstance(configuration, str):
        raise ArtefactError(
            f"{path} must name its trainer_name and init_args.configuration, got {_shown(trainer)} and "
            f"{_shown(configuration)}"
        )
    axes = () if axes is None else axes
    if not isinstance(axes, tuple | list) or not all(type(axis) is int and 0 <= axis <= 2 for axis in axes):
        raise ArtefactError(f"{path}: inference_allowed_mirroring_axes must be among 0, 1 and 2, got {_shown(axes)}")
    return Checkpoint(
        weights=_weights(content["network_weights"], path),
        trainer=trainer,
        configuration=configuration,
        mirror_axes=tuple(axes),
        epochs=epochs if isinstance(epochs, int) else None,
    )


def read_nnunet_weights(path: Path) -> dict[str, Tensor]:
    """Return the network's tensors of an nnU-Net v2 checkpoint under our names, as float32 on the CPU.

    Which network they fit is not looked at. `ArtefactError` says why a file is refused.
    """
    return _weights(_content(path)["network_weights"], path)


def _content(path: Path) -> dict[str, Any]:
    """Load what is no tensor, and refer to the tensors in the file."""
    try:
        with _allowed_names():
            content = read_torch_file(path, mmap=True, verify=True)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ArtefactError(f"there is no file {path}") from error
    except ArtefactError as error:
        raise ArtefactError(f"{path} is refused: {error}") from error
    if not isinstance(content, dict):
        raise ArtefactError(f"{path} is no checkpoint of nnU-Net v2: it holds a {type(content).__name__}")
    if not isinstance(content.get("network_weights"), dict):
        raise ArtefactError(f"{path} is no checkpoint of nnU-Net v2: {_foreign(content)}")
    return content


def _weights(state: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    """Copy the tensors out of the file as float32, each once; refuse what no network's weights can be."""
    check_tensors(state, f"{path}: network_weights")
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            raise ArtefactError(f"{path}: network_weights.{name} must hold floating-point numbers, got {tensor.dtype}")
    try:
        weights = weights_from_nnunet({name: tensor.detach() for name, tensor in state.items()})
    except ArtefactError as error:
        raise ArtefactError(f"{path}: {error}") from error
    copies = {name: tensor.to(torch.float32, copy=True).contiguous() for name, tensor in weights.items()}
    for name, tensor in copies.items():
        if not torch.isfinite(tensor).all():
            raise ArtefactError(f"{path}: network_weights.{name} holds NaN or infinity; the training has diverged")
    return copies


def _foreign(content: Mapping[Any, Any]) -> str:
    """Say what a file of tensors that is no checkpoint of nnU-Net v2 looks like."""
    if "plot_stuff" in content or "lr_scheduler_state_dict" in content:
        return "it is one of nnU-Net v1, whose networks are others; train again with version 2"
    if "pytorch-lightning_version" in content:
        return "it is one of PyTorch Lightning"
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return "it holds bare weights, without the trainer and the configuration that they belong to"
    keys = sorted(key if isinstance(key, str) else _shown(key) for key in content)
    return f"it has no network_weights, but {_shown(keys)}"


class _Shortened(reprlib.Repr):
    """Shows values of a foreign file, which may be of any length and depth, or refer to itself a billion times."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxlist, self.maxtuple, self.maxdict = 3, 12, 12, 12
        self.maxstring = self.maxother = 200

    def repr_instance(self, x: Any, level: int) -> str:
        """Show a plain value, and of anything else its type alone."""
        return repr(x) if x is None or isinstance(x, bool | float | complex) else f"a {type(x).__name__}"


def _shown(value: Any) -> str:
    """Show a value of a foreign file in 200 characters at most."""
    text = _Shortened().repr(value)
    return text if len(text) <= 200 else f"{text[:200]} ..."


@contextmanager
def _allowed_names() -> Iterator[None]:
    """Allow exactly our stand-ins, whatever the program has allowed before, and leave its list as it was."""
    with _lock:
        before = list(get_safe_globals())
        clear_safe_globals()
        try:
            add_safe_globals(list(_STAND_INS))
            yield
        finally:
            clear_safe_globals()
            add_safe_globals(before)


class _NumpyType:
    """Stands in for `numpy.dtype`: only numbers and truth values, by a code such as f4."""

    dtype: np.dtype[Any] | None = None

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        if not isinstance(code, str) or not re.fullmatch(rf"[{_PLAIN_KINDS}]\d{{1,2}}", code):
            raise pickle.UnpicklingError(f"a numpy type of plain numbers is allowed, got {_shown(code)}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if self.dtype is None or not isinstance(state, tuple) or state[1] not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"a byte order is allowed, got {_shown(state)}")
        self.dtype = self.dtype.newbyteorder(state[1])


def _numpy_scalar(kind: Any, content: Any) -> int | float | bool:
    """Stand in for numpy's scalars: return the plain number that `content` encodes."""
    dtype = kind.dtype if isinstance(kind, _NumpyType) else None
    if dtype is None or not isinstance(content, bytes) or len(content) != dtype.itemsize:
        raise pickle.UnpicklingError(f"a numpy scalar of plain numbers is allowed, got {_shown(content)}")
    number: int | float | bool = np.frombuffer(content, dtype)[0].item()
    return number


def _encode(text: Any, encoding: Any) -> bytes:
    """Stand in for `_codecs.encode`, by which pickles of protocol 2 write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes as latin1 text are allowed, got {_shown(encoding)}")
    return encode(text, "latin1")


def _named(stand_in: Any, name: str) -> Any:
    """Return `stand_in` under the name by which every version of PyTorch tells what a file may ask for."""
    if not isinstance(stand_in, type):
        stand_in = partial(stand_in)
    stand_in.__module__, _, stand_in.__name__ = name.rpartition(".")
    stand_in.__qualname__ = stand_in.__name__
    return stand_in


_STAND_INS = (
    _named(_NumpyType, "numpy.dtype"),
    _named(_numpy_scalar, "numpy.core.multiarray.scalar"),  # numpy 1
    _named(_numpy_scalar, "numpy._core.multiarray.scalar"),  # numpy 2
    _named(_encode, "_codecs.encode"),
)
