"""Reading the files of a package: within limits whatever an archive declares, and nothing beside it."""

import struct
import zipfile

import pytest

from segfw.core.errors import ArtefactError
from segfw.inference import package_files
from segfw.inference.package_files import MAX_MANIFEST, open_package, write_zip


def make_zip(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def read(path, name):
    with open_package(path) as content:
        return content(name)


def lie_about_size(path, size):
    """Let both headers of the only large member say that it unpacks to `size` bytes."""
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = content.rindex(signature)
        content[place + offset : place + offset + 4] = struct.pack("<I", size)
    path.write_bytes(content)


def test_a_bomb_is_not_unpacked(tmp_path):
    bomb = make_zip(tmp_path / "m.zip", {"model.yaml": "a", "x.safetensors": bytes(200_000_000)})
    assert bomb.stat().st_size < 300_000
    with pytest.raises(ArtefactError, match=r"unpack to more than 67108864 bytes, 20 times.*200000000"):
        read(bomb, "x.safetensors")


def test_a_bomb_in_parts_is_not_unpacked(tmp_path):
    parts = {f"{i}.safetensors": bytes(30_000_000) for i in range(3)}
    with open_package(make_zip(tmp_path / "m.zip", {"model.yaml": "a", **parts})) as content:
        assert len(content("0.safetensors")) == len(content("1.safetensors")) == 30_000_000
        with pytest.raises(ArtefactError, match=r"2\.safetensors alone"):
            content("2.safetensors")


def test_a_size_that_is_a_lie_is_found_after_as_many_bytes(tmp_path, monkeypatch):
    path = make_zip(tmp_path / "m.zip", {"model.yaml": "a", "x.safetensors": bytes(50_000_000)})
    lie_about_size(path, 1000)
    monkeypatch.setattr(package_files, "ALWAYS_ALLOWED", 2000)
    with pytest.raises(ArtefactError, match=r"m\.zip is damaged: x\.safetensors cannot be read: Bad CRC"):
        read(path, "x.safetensors")


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_huge_manifest_is_not_read(tmp_path, kind):
    text = b"#" * (MAX_MANIFEST + 1)
    (tmp_path / "m").mkdir()
    (tmp_path / "m/model.yaml").write_bytes(text)
    path = tmp_path / "m" if kind == "folder" else make_zip(tmp_path / "m.zip", {"model.yaml": text})
    with pytest.raises(ArtefactError, match=r"model\.yaml has 4194305 bytes, at most 4194304 are read"):
        read(path, "model.yaml")


def test_an_encrypted_archive_says_so(tmp_path):
    path = make_zip(tmp_path / "m.zip", {"model.yaml": "a"}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"m\.zip: model\.yaml is encrypted"):
        read(path, "model.yaml")


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_is_told_in_every_compression(tmp_path, compression):
    path = make_zip(tmp_path / "m.zip", {"model.yaml": bytes(range(256)) * 4}, compression)
    whole = path.read_bytes()
    start, end = whole.index(b"model.yaml") + len("model.yaml"), whole.index(b"PK\x01\x02") - 16
    for place in range(start, end, 7):
        path.write_bytes(whole[:place] + bytes(255 - byte for byte in whole[place : place + 8]) + whole[place + 8 :])
        with pytest.raises(ArtefactError, match=r"m\.zip is damaged: model\.yaml cannot be read: ."):
            read(path, "model.yaml")


@pytest.mark.parametrize("name", ["../model.yaml", "/model.yaml", "..\\/model.yaml"])
def test_a_manifest_that_lies_elsewhere_is_none(tmp_path, name):
    path = make_zip(tmp_path / "m.zip", {name: "a"})
    with pytest.raises(ArtefactError, match=r"m\.zip holds no model\.yaml"):
        read(path, "model.yaml")


def test_a_manifest_that_is_a_folder_is_told(tmp_path):
    (tmp_path / "model.yaml").mkdir()
    with pytest.raises(ArtefactError, match=r"model\.yaml cannot be read: it is no file"):
        read(tmp_path, "model.yaml")


def test_a_manifest_that_never_ends_is_not_read(tmp_path):
    (tmp_path / "model.yaml").symlink_to("/dev/zero")
    with pytest.raises(ArtefactError, match=r"model\.yaml cannot be read: it is no file"):
        read(tmp_path, "model.yaml")


def test_a_manifest_without_permission_is_told(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "model.yaml").write_text("a")
    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(ArtefactError, match=r"model\.yaml cannot be read: Permission denied"):
        read(tmp_path, "model.yaml")


def test_errors_of_the_reader_are_not_the_archives(tmp_path):
    path = make_zip(tmp_path / "m.zip", {"model.yaml": "a"})
    with pytest.raises(RuntimeError, match="mine"), open_package(path):
        raise RuntimeError("mine")


def test_the_same_files_give_the_same_bytes_and_the_time_is_not_told(tmp_path):
    files = {"model.yaml": b"a: 1\n", "x.safetensors": bytes(range(200))}
    write_zip(tmp_path / "one.zip", files)
    write_zip(tmp_path / "two.zip", files)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.filename: archive.read(info) for info in archive.infolist()} == files
