"""Foreign models are read from folders and archives, within limits, and nothing is unpacked."""

import zipfile

import pytest

from segfw.core.errors import ArtefactError
from segfw.interop import model_files
from segfw.interop.model_files import open_files

NAMES = ("a/plans.json", "a/fold_0/x.pth", "b[1]/plans.json", "plans.json")


@pytest.fixture(params=["folder", "zip"])
def source(tmp_path, request):
    folder = tmp_path / "source"
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    if request.param == "folder":
        return folder
    path = tmp_path / "source.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in NAMES:
            archive.write(folder / name, name)
        archive.write(folder / "a", "a")
    return path


def test_both_kinds_find_and_read_the_same(source):
    files = open_files(source)
    assert files.name == "source"
    assert files.find("*/plans.json") == ["a/plans.json", "b[1]/plans.json"]
    assert files.find("plans.json") == ["plans.json"]
    assert files.find("a/fold_*/*.pth") == ["a/fold_0/x.pth"]
    assert files.find("b[[]1]/*.json") == ["b[1]/plans.json"]
    assert files.read("a/plans.json") == b"a/plans.json"
    with files.local("a/fold_0/x.pth") as path:
        assert path.read_text() == "a/fold_0/x.pth"
    with pytest.raises(ArtefactError, match=r"source.*c\.json (is missing|cannot be read)"):
        files.read("c.json")


def test_large_files_are_refused(source, monkeypatch):
    monkeypatch.setattr(model_files, "LARGEST_TEXT", 11)
    files = open_files(source)
    assert files.read("plans.json") == b"plans.json"
    with pytest.raises(ArtefactError, match="12 bytes"):
        files.read("a/plans.json")


def test_a_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("plans.json", b"\0" * 10**7)
    files = open_files(path)
    with pytest.raises(ArtefactError, match=r"plans\.json would unpack from \d+ to 10000000 bytes; .* 100 times"):
        files.read("plans.json")
    with pytest.raises(ArtefactError, match="would unpack"), files.local("plans.json"):
        pass


@pytest.mark.parametrize("name", ["../plans.json", "/plans.json", "a/../../plans.json"])
def test_names_that_lead_elsewhere_write_nothing(tmp_path, name):
    path = tmp_path / "inner" / "evil.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "evil")
    files = open_files(path)
    assert files.find("../plans.json") == []
    with files.local(name) as copy:
        assert copy.name == "member"
        assert tmp_path not in copy.parents
    assert [entry.name for entry in tmp_path.rglob("*")] == ["inner", "evil.zip"]


def test_damaged_and_encrypted_archives_are_refused(tmp_path):
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("plans.json", "{}" * 50)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"{}{}", b"{}[}", 1))
    with pytest.raises(ArtefactError, match=r"model\.zip: plans\.json cannot be read: Bad CRC-32"):
        open_files(path).read("plans.json")
    directory = whole.index(b"PK\x01\x02")
    encrypted = bytearray(whole)
    encrypted[6] |= 1  # the flag of encryption, in the member's header and in the directory
    encrypted[directory + 8] |= 1
    path.write_bytes(encrypted)
    with pytest.raises(ArtefactError, match=r"cannot be read: .*encrypted"):
        open_files(path).read("plans.json")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtefactError, match=r"model\.zip is no \.zip that can be read"):
        open_files(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_is_told_in_every_compression(tmp_path, compression):
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("plans.json", bytes(range(256)) * 4)
    whole = path.read_bytes()
    start, end = whole.index(b"plans.json") + len("plans.json"), whole.index(b"PK\x01\x02") - 16
    for place in range(start, end, 7):
        path.write_bytes(whole[:place] + bytes(255 - byte for byte in whole[place : place + 8]) + whole[place + 8 :])
        with pytest.raises(ArtefactError, match=r"model\.zip: plans\.json cannot be read: ."):
            open_files(path).read("plans.json")


def test_neither_folder_nor_zip(tmp_path):
    with pytest.raises(ArtefactError, match=r"neither a folder nor a \.zip .*nowhere"):
        open_files(tmp_path / "nowhere")
    (tmp_path / "checkpoint_final.pth").write_text("")
    with pytest.raises(ArtefactError, match="is a checkpoint alone: give the trained model's folder"):
        open_files(tmp_path / "checkpoint_final.pth")
