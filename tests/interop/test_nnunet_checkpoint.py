"""nnU-Net's checkpoints are read as data; hostile, old, foreign and damaged files are refused with the reason."""

import builtins
import io
import os
import pickle
import subprocess
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from segfw.core.errors import ArtefactError
from segfw.interop.nnunet_checkpoint import read_checkpoint, read_nnunet_weights
from tests.interop.nnunet_files import checkpoint, tiny_weights


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint_final.pth"


def test_a_checkpoint_is_read_with_its_numpy_scalars(path):
    torch.save(checkpoint(), path)
    before = set(torch.serialization.get_safe_globals())
    read = read_checkpoint(path)
    assert (read.trainer, read.configuration, read.mirror_axes, read.epochs) == (
        "nnUNetTrainer", "3d_fullres", (0, 1, 2), 20,
    )  # fmt: skip
    wanted = tiny_weights()
    assert list(read.weights) == list(wanted)
    assert all(torch.equal(read.weights[name], wanted[name]) for name in wanted)
    assert set(torch.serialization.get_safe_globals()) == before


def test_weights_alone_are_float32_whatever_the_file_holds(path):
    content = checkpoint()
    content["network_weights"] = {f"module.{k}": v.half() for k, v in content["network_weights"].items()}
    torch.save(content, path)
    weights = read_nnunet_weights(path)
    assert list(weights) == list(tiny_weights())
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_scalars_of_numpy_1_and_of_every_plain_type_are_read(path):
    kinds = (np.float16, np.float32, np.float64, np.int8, np.int64, np.uint16, np.bool_, ">f4")
    scalars = [np.array([1], kind)[0] for kind in kinds]
    torch.save(checkpoint(logging={"values": scalars}), path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert read_checkpoint(path).epochs == 20


@pytest.mark.parametrize(("axes", "wanted"), [(None, ()), ((), ()), ([0, 1], (0, 1))], ids=["none", "empty", "list"])
def test_a_training_without_mirroring_says_so_in_several_ways(path, axes, wanted):
    torch.save(checkpoint(inference_allowed_mirroring_axes=axes), path)
    assert read_checkpoint(path).mirror_axes == wanted


class Call:
    """Pickles as a call that unpickling would make."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class Network(torch.nn.Linear):
    pass


def leave_mark(path):
    """Write a file: what a payload would do if it were run."""
    Path(path).write_text("run")


HOSTILE = {
    "system": lambda mark: Call(os.system, f"touch {mark}"),
    "eval": lambda mark: Call(builtins.eval, f"open({str(mark)!r}, 'w')"),
    "exec": lambda mark: Call(builtins.exec, f"open({str(mark)!r}, 'w')"),
    "open": lambda mark: Call(open, str(mark), "w"),
    "getattr": lambda mark: Call(getattr, "a", "upper"),
    "Popen": lambda mark: Call(subprocess.Popen, ["touch", str(mark)]),
    "leave_mark": lambda mark: Call(leave_mark, str(mark)),
    "Linear": lambda mark: torch.nn.Linear(2, 2),
    "Network": lambda mark: Network(2, 2),
    "_reconstruct": lambda mark: np.array([Call(leave_mark, str(mark))], dtype=object),
    "Path": lambda mark: Path(mark),
    "load": lambda mark: Call(torch.hub.load, "nobody/nothing", "x"),
}


@pytest.mark.parametrize("payload", HOSTILE)
@pytest.mark.parametrize("place", ["logging", "network_weights", "optimizer_state"])
def test_payloads_are_refused_by_name_and_never_run(path, payload, place):
    mark = path.with_name("mark")
    torch.save(checkpoint(**{place: {"x": HOSTILE[payload](mark)}}), path)
    with pytest.raises(ArtefactError, match=rf"final\.pth is refused: it asks for [\w.]*{payload}"):
        read_checkpoint(path)
    assert not mark.exists()


def test_what_the_program_has_allowed_elsewhere_is_not_allowed_here(path):
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals([leave_mark])
    try:
        torch.save(checkpoint(logging=Call(leave_mark, str(path.with_name("mark")))), path)
        with pytest.raises(ArtefactError, match="leave_mark"):
            read_checkpoint(path)
        assert leave_mark in torch.serialization.get_safe_globals()
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)
    assert not path.with_name("mark").exists()


def pickled(*operations):
    """Return an archive as `torch.save` writes it, around a pickle of these operations."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {"data.pkl": b"".join((b"\x80\x02", *operations, b".")), "version": b"3"}.items():
            archive.writestr(f"archive/{name}", content)
    return buffer.getvalue()


def test_a_deeply_nested_value_is_told_in_short(path):
    def text(word):
        return b"X" + len(word).to_bytes(4, "little") + word

    nested = b"]" * 3000 + b"a" * 2999
    path.write_bytes(pickled(b"}", text(b"network_weights"), b"}s", text(b"trainer_name"), nested, b"s"))
    with pytest.raises(ArtefactError, match=r"got \[\[\[\[?\.\.\.\]\]\]\]? and None"):
        read_checkpoint(path)


SCALAR, TYPE = b"cnumpy._core.multiarray\nscalar\n", b"cnumpy\ndtype\n"


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ((TYPE, b"X\x01\x00\x00\x00O\x85R"), "a numpy type of plain numbers is allowed, got 'O'"),
        ((TYPE, b"X\x03\x00\x00\x00V99\x85R"), "allowed, got 'V99'"),
        ((TYPE, b"X\x02\x00\x00\x00f3\x85R"), "data type 'f3' not understood"),
        (
            (SCALAR, TYPE, b"X\x02\x00\x00\x00f8\x85RU\x01a\x86R"),
            "a numpy scalar of plain numbers is allowed, got 'a'",
        ),
        ((SCALAR, b"X\x02\x00\x00\x00f8U\x08aaaaaaaa\x86R"), "a numpy scalar of plain numbers"),
        ((b"cposix\nsystem\n", b"X\x04\x00\x00\x00true\x85R"), r"it asks for posix\.system"),
        ((b"c__builtin__\neval\n", b"X\x01\x00\x00\x001\x85R"), r"it asks for \w*\.?eval"),
        ((b"}", b"X\x01\x00\x00\x00a", TYPE, b"s)R"), "damaged or holds more"),
        ((b"Q",), "damaged or holds more"),
        ((b"", b"h\x07"), "damaged or holds more"),
        ((b"\xff",), "damaged or holds more"),
    ],
)
def test_handwritten_pickles_end_in_a_message(path, operations, message):
    path.write_bytes(pickled(*operations))
    with pytest.raises(ArtefactError, match=message):
        read_checkpoint(path)


def doubled(depth):
    """Make a small value whose `repr` has 2 to the `depth` parts."""
    value = OrderedDict()
    for _ in range(depth):
        value = OrderedDict(a=value, b=value)
    return [value]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}, "plot_stuff": [], "epoch": 3}, "it is one of nnU-Net v1"),
        ({"state_dict": {}, "pytorch-lightning_version": "2.6"}, "one of PyTorch Lightning"),
        ({"a.weight": torch.ones(2)}, "holds bare weights"),
        ({"model": 1, "epoch": 2}, r"no network_weights, but \['epoch', 'model'\]"),
        ({}, r"no network_weights, but \[\]"),
        ([1, 2], "it holds a list"),
        (torch.ones(2), "it holds a Tensor"),
        (checkpoint(network_weights={"a": 1}), "must hold dense tensors, 'a' is something else"),
        (checkpoint(network_weights={1: torch.ones(2)}), "must hold dense tensors, 1 is something else"),
        (checkpoint(network_weights={"a": torch.ones(2).to_sparse()}), "must hold dense tensors, 'a'"),
        (checkpoint(network_weights={"a": torch.ones(2, device="meta")}), "must hold dense tensors, 'a'"),
        (checkpoint(network_weights={"a": torch.ones(2).int()}), "network_weights.a must hold floating-point numbers"),
        (checkpoint(network_weights={"a": torch.ones(1).expand(10**12)}), r"shape \(1000000000000,\) for fewer"),
        (checkpoint(network_weights={"a": torch.tensor([1, torch.nan])}), "a holds NaN or infinity"),
        (checkpoint(trainer_name=None), "must name its trainer_name and init_args.configuration, got None"),
        (checkpoint(init_args={}), "got 'nnUNetTrainer' and None"),
        (checkpoint(init_args=3), "got 'nnUNetTrainer' and None"),
        (checkpoint(inference_allowed_mirroring_axes=(0, 7)), r"must be among 0, 1 and 2, got \(0, 7\)"),
        (checkpoint(inference_allowed_mirroring_axes=1), "must be among 0, 1 and 2, got 1"),
        (checkpoint(inference_allowed_mirroring_axes=[torch.tensor([1, 2])]), r"0, 1 and 2, got \[a Tensor\]"),
        (checkpoint(inference_allowed_mirroring_axes=[True]), r"0, 1 and 2, got \[True\]"),
        (checkpoint(trainer_name=doubled(40)), "must name its trainer_name"),
    ],
)
def test_foreign_and_senseless_content_is_refused(path, content, message):
    torch.save(content, path)
    with pytest.raises(ArtefactError, match=message):
        read_checkpoint(path)


def test_files_that_are_no_archive_are_refused(path):
    torch.save(checkpoint(), path, _use_new_zipfile_serialization=False)
    with pytest.raises(ArtefactError, match=r"no whole file of PyTorch.*PyTorch before 1\.6, as those of nnU-Net v1"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps({"network_weights": {}}))
    with pytest.raises(ArtefactError, match="no whole file of PyTorch"):
        read_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(ArtefactError, match="no whole file of PyTorch"):
        read_checkpoint(path)
    with pytest.raises(ArtefactError, match=r"there is no file .*other\.pth"):
        read_checkpoint(path.with_name("other.pth"))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_files_are_refused(path, share):
    torch.save(checkpoint(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ArtefactError, match="truncated"):
        read_checkpoint(path)


@pytest.mark.parametrize("member", ["data/0", "data.pkl"])
def test_changed_bytes_are_found(path, member):
    torch.save(checkpoint(), path)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = next(each for each in archive.infolist() if each.filename.endswith(f"/{member}"))
        start = content.index(archive.read(info), info.header_offset)
    content[start + info.file_size // 2] ^= 1
    path.write_bytes(content)
    for read in (read_checkpoint, read_nnunet_weights):
        with pytest.raises(ArtefactError, match=rf"final\.pth is refused: the content of '.*/{member}' is not"):
            read(path)


def test_many_overwritten_bytes_are_found(path):
    torch.save(checkpoint(), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4000] = bytes(4000)
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"final\.pth is refused: (the content|it is no whole file)"):
        read_checkpoint(path)


def test_compressed_and_overlapping_parts_are_refused(path):
    torch.save(checkpoint(), path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ArtefactError, match="compressed parts"):
        read_checkpoint(path)
    archive = zipfile.ZipFile(path, "w")
    archive.writestr("archive/data.pkl", b"a" * 1000)
    archive.filelist *= 3  # the directory lists the same bytes three times
    archive.close()
    with pytest.raises(ArtefactError, match="claim 3000 bytes, more than the file has"):
        read_checkpoint(path)


def test_a_storage_that_claims_more_than_the_file_holds_is_refused(path):
    weights = {"a": torch.arange(8.0)}
    torch.save(checkpoint(network_weights=weights), path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickle_name = next(name for name in members if name.endswith("data.pkl"))
    large = b"J" + (10**6).to_bytes(4, "little")
    changed = members[pickle_name].replace(b"K\x08tq", large + b"tq", 1).replace(b"K\x08\x85q", large + b"\x85q", 1)
    assert changed != members[pickle_name]
    members[pickle_name] = changed
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ArtefactError, match="is refused"):
        read_checkpoint(path)
