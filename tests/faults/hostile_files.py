"""Files made to harm whoever opens them: payloads that would leave a mark if anything ran them, and bombs."""

import io
import json
import os
import pickle
import struct
import zipfile
from functools import cache
from itertools import pairwise

import cloudpickle
import numpy as np
import torch

SECRET = "SEGFW_TEST_SECRET"
GIGABYTES = 2**33
"""Bytes that a bomb of some hundred bytes asks for."""


class Call:
    """Pickles as a call that unpickling makes."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def payload(mark):
    """A pickled object that writes `mark` when it is unpickled."""
    return Call(os.system, f"touch {mark}")


def saved(content, **options):
    """Return what torch.save writes of `content`."""
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def archive(operations, compression=zipfile.ZIP_STORED, **parts):
    """Return an archive as torch.save writes it, around a pickle of these operations."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in {"data.pkl": b"\x80\x02" + operations + b".", "version": b"3", **parts}.items():
            file.writestr(f"archive/{name}", content)
    return buffer.getvalue()


def large(number):
    """The pickled number, of any size below 2 ** 64."""
    return b"\x8a\x09" + number.to_bytes(9, "little")


def lightning(mark, place):
    """A checkpoint of Lightning with a payload in one of its parts."""
    content = {
        "state_dict": {"network.a": torch.ones(2)}, "optimizer_states": [], "hyper_parameters": {}, "callbacks": {},
        "loops": {}, "pytorch-lightning_version": "2.6.0", "epoch": 1, "global_step": 2,
    }  # fmt: skip
    return saved(content | {place: {"x": payload(mark)}})


def npy(mark):
    buffer = io.BytesIO()
    np.save(buffer, np.array([payload(mark)], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def npz(mark):
    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([payload(mark)], dtype=object))
    return buffer.getvalue()


def script():
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), buffer)
    return buffer.getvalue()


def shared_parts():
    """An archive whose directory lists the same megabyte a hundred times."""
    buffer = io.BytesIO()
    file = zipfile.ZipFile(buffer, "w")
    file.writestr("archive/data.pkl", b"\x80\x02}.".ljust(2**20, b"\0"))
    file.filelist *= 100
    file.close()
    return buffer.getvalue()


@cache
def weights(mark):
    """Return name -> content of files that pretend to hold weights, in any format."""
    bytearrays = archive(b"cbuiltins\nbytearray\n" + large(GIGABYTES) + b"\x85R")
    legacy = saved({"a": torch.ones(3)}, _use_new_zipfile_serialization=False)
    return {
        "pickle": pickle.dumps(payload(mark)),
        "pickle, protocol 0": pickle.dumps(payload(mark), protocol=0),
        "pickle, protocol 5, nested": pickle.dumps({"a": [{"b": (payload(mark),)}]}, protocol=5),
        "cloudpickle": cloudpickle.dumps(Call(eval, f"__import__('os').system('touch {mark}')")),
        "torch": saved(payload(mark)),
        "torch, legacy": saved(payload(mark), _use_new_zipfile_serialization=False),
        "torch, legacy before an archive": pickle.dumps(payload(mark)) + archive(b"}"),
        **{f"Lightning, {place}": lightning(mark, place) for place in (
            "state_dict", "optimizer_states", "hyper_parameters", "callbacks", "loops",
        )},
        "torch, a module": saved(torch.nn.Linear(2, 2)),
        "torch, object array": saved({"a": np.array([payload(mark)], dtype=object)}),
        "TorchScript": script(),
        "ONNX": b"\x08\x07\x12\x07pytorch" + bytes(100),
        "npy of objects": npy(mark),
        "npz of objects": npz(mark),
        "a list": saved([1, 2]),
        "keys that are no text": saved({1: torch.ones(1), (2,): 3}),
        "sparse tensor": saved({"state_dict": {"network.a": torch.ones(2).to_sparse()}}),
        "a storage of terabytes": archive(
            b"}(X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
            b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + large(2**40) + b"tQK\x00" + large(2**40)
            + b"\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRu", **{"data/0": b"1234"},
        ),
        "a shape of terabytes": saved({"state_dict": {"network.a": torch.ones(1).expand(2**40)}}),
        "bytearray of gigabytes": bytearrays,
        "bytearray, upper case": bytearrays.replace(b"data.pkl", b"DATA.PKL"),
        "compressed parts": archive(b"}", zipfile.ZIP_DEFLATED, **{"data/0": bytes(10**8)}),
        "parts that share bytes": shared_parts(),
        "memo of two billion": archive(b"}r\xff\xff\xff\x7f"),
        "text of four gigabytes": archive(b"X\xff\xff\xff\xffa"),
        "nested lists": archive(b"]" * 10**5 + b"a" * (10**5 - 1)),
        "unknown operation": archive(b"\xff"),
        "empty stack": archive(b"R"),
        "legacy tensors": legacy,
        "legacy, cut": legacy[: len(legacy) // 2],
        "empty": b"",
        "two letters": b"PK",
        "web page": b"<!DOCTYPE html><title>login</title>" * 100,
        **safetensors(),
    }  # fmt: skip


def tensor(begin, end, shape=(1,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def safetensors():
    """Return name -> content of safetensors whose header lies."""

    def file(header, data=b"", length=None):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text) if length is None else length) + text + data

    one = json.dumps(tensor(0, 4)).encode()
    made = {
        "a header of exabytes": file({}, length=2**62),
        "a header longer than the file": file({}, length=90_000_000),
        "a header that is no JSON": file(b"\xff\xfe"),
        "a nested header": file(b'{"a":' * 100_000),
        "overlapping offsets": file({"a": tensor(0, 4), "b": tensor(0, 4)}, b"1234"),
        "offsets out of range": file({"a": tensor(0, 2**42, [2**40])}, b"1234"),
        "a shape that overflows": file({"a": tensor(0, 4, [2**40, 2**40])}, b"1234"),
        "a name twice": file(b'{"a":%b,"a":%b}' % (one, one.replace(b"[0, 4]", b"[4, 8]")), b"12345678"),
        "an unknown type": file({"a": tensor(0, 1, dtype="OBJ")}, b"1"),
        "a type of other versions": file({"a": tensor(0, 2, [4], "F4")}, b"12"),
        "complex numbers": file({"a": tensor(0, 8, dtype="C64")}, b"12345678"),
        "bytes at the end": file({"a": tensor(0, 4)}, b"1234" + bytes(100)),
    }
    return {f"safetensors, {name}": content for name, content in made.items()}


@cache
def texts(mark):
    """Return name -> text of YAML that would run something, or grow without end."""
    tenfold = [f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in pairwise("abcdefghi")]
    merges = [f"{b}: &{b}\n  <<: [{', '.join([f'*{a}'] * 10)}]" for a, b in pairwise("abcdefghi")]
    return {
        "python/object/apply": f"!!python/object/apply:os.system ['touch {mark}']",
        "python/object/new": f"a: !!python/object/new:os.system ['touch {mark}']",
        "python/name": "a: !!python/name:os.system",
        "python/module": "a: !!python/module:antigravity",
        "pathlib": "a: !!python/object/apply:pathlib.Path [x]",
        "_target_": f"_target_: os.system\ncommand: touch {mark}",
        "a nested _target_": f"run: {{_target_: os.system, command: touch {mark}}}\nformat_version: 1",
        "interpolation": f"format_version: ${{oc.env:{SECRET}}}",
        "aliases": "\n".join(["a: &a [1, 1]", *tenfold]),
        "merges": "\n".join(["a: &a {x: 1}", *merges]),
        "a part of itself": "a: &a [*a]",
        "nested lists": "[" * 300_000,
        "nested dashes": "- " * 300_000,
        "a pickle": "\x80\x04cos\nsystem\n.",
        "nothing": "",
    }
