"""Files of `torch.save` that may come from anywhere: read as data, and in no more memory than they have bytes.

PyTorch's restricted unpickler (`weights_only=True`) calls nothing but what makes tensors and plain containers. Beyond
that the file must be an archive of uncompressed parts, as PyTorch writes it: compressed ones, or several that share
bytes, unpack to any size. So does a `bytearray`, which the unpickler would make of a number alone.
"""

import pickle
import pickletools
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segfw.core.errors import ArtefactError
from segfw.core.support.zip_reading import ZIP_DAMAGE

BEGINNING = b"PK\x03\x04"
"""Of an archive; PyTorch takes what begins otherwise for its older format, wherever an archive may lie in the file."""
OTHERS = "it is truncated, or from PyTorch before 1.6, as those of nnU-Net v1 are, or something else"
MADE_OF_NOTHING = ("builtins bytearray", "__builtin__ bytearray")
"""Names that make memory of a number."""
KINDS = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip
"""Of a network's tensors; buffers may count."""
MALFORMED = (
    pickle.UnpicklingError, RuntimeError, OSError, EOFError, LookupError, TypeError, ValueError, AttributeError,
    AssertionError, ArithmeticError, MemoryError, struct.error,
)  # fmt: skip
"""What reading a file that is no checkpoint, or was made to harm, may end in."""


def read_torch_file(path: Path, map_location: Any = "cpu", mmap: bool = False, verify: bool = False) -> Any:
    """Return what a file holds; nothing but tensors and plain containers is ever unpickled.

    `mmap`: tensors refer to the file instead of being copied; `verify`: compare the checksums of all parts, which
    PyTorch itself does not, so that changed numbers would be taken for weights. Raises `FileNotFoundError`, and
    `ArtefactError` that says, without the path, why the file is refused.
    """
    _check_archive(path, verify)
    try:
        return torch.load(str(path), map_location=map_location, weights_only=True, mmap=mmap)
    except MALFORMED as error:
        raise ArtefactError(_reason(error)) from error


def check_tensors(tensors: Mapping[Any, Any], place: str) -> None:
    """Raise `ArtefactError` for what no network's weights can be; `place`: what messages call the mapping."""
    for name, tensor in tensors.items():
        plain = isinstance(name, str) and type(tensor) in (Tensor, nn.Parameter)
        if not plain or tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type == "meta":
            shown = repr(name)[:200] if isinstance(name, str | int) else f"the entry of a {type(name).__name__}"
            raise ArtefactError(f"{place} must hold dense tensors, {shown} is something else")
        if tensor.dtype not in KINDS:
            raise ArtefactError(f"{place}.{name} must hold real numbers of 8 to 64 bits, got {tensor.dtype}")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ArtefactError(f"{place}.{name} has the shape {tuple(tensor.shape)} for fewer numbers")


def _check_archive(path: Path, verify: bool) -> None:
    """Refuse what `torch.save` has not written, and what would take more memory than the file has bytes."""
    try:
        with path.open("rb") as file:
            begins = file.read(len(BEGINNING)) == BEGINNING
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise ArtefactError("PyTorch compresses nothing in its files, but this one has compressed parts")
            if total > path.stat().st_size:
                raise ArtefactError(f"its parts claim {total} bytes, more than the file has")
            changed = archive.testzip() if verify else None
            if changed is not None:
                raise ArtefactError(f"the content of {changed[:200]!r} is not what was written (CRC-32)")
            pickles = [archive.read(member) for member in members if member.filename.lower().endswith(".pkl")]
    except FileNotFoundError:
        raise
    except ZIP_DAMAGE as error:
        raise ArtefactError(f"it is no whole file of PyTorch: {error or type(error).__name__} ({OTHERS})") from error
    if not begins:
        raise ArtefactError(f"it is no whole file of PyTorch: it begins with something else ({OTHERS})")
    for content in pickles:
        _check_names(content)


def _check_names(content: bytes) -> None:
    try:
        names = {str(argument) for operation, argument, _ in pickletools.genops(content) if operation.name == "GLOBAL"}
    except MALFORMED as error:
        raise ArtefactError(_reason(error)) from error
    if asked := names & {*MADE_OF_NOTHING}:
        raise ArtefactError(f"it asks for {asked.pop().replace(' ', '.')}, and only tensors and plain values are read")


def _reason(error: BaseException) -> str:
    """Say in one line why the unpickler gave up."""
    text = " ".join(str(error).split())
    named = re.search(r"GLOBAL `?([\w.]+)", text)
    if named:
        return f"it asks for {named[1]}, and only tensors and plain values are read"
    if isinstance(error, pickle.UnpicklingError) and "WeightsUnpickler error: " in text:
        text = text.split("WeightsUnpickler error: ")[1].split(" Check the documentation")[0]
    return f"it is damaged or holds more than tensors and plain values ({type(error).__name__}: {text[:200]})"
