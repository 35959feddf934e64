"""Archives that are hostile, damaged or merely unusual."""

import errno
import gzip
import io
import os
import tarfile
import zipfile

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from segfw.core.errors import DataError, JobError
from segfw.io.fetching import archives, fetch, unpack
from segfw.io.fetching.archives import DamagedArchive, archive_kind
from tests.io.fetching.archive_site import GOOD, archive

KEPT = {"dataset.json", "imagesTr/a.nii.gz"}


def packed(members=None, kind="tar"):
    """Make an archive of {name: bytes}; a name that ends in / is a folder."""
    members = GOOD if members is None else members
    if kind != "zip":
        return archive(members, mode={"tar": "w", "gz": "w:gz", "xz": "w:xz"}[kind])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def special(name, kind=tarfile.REGTYPE, target="", size=0):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


def unpacked(tmp_path, content):
    """Unpack `content` as the folder Toy; return the names of its files."""
    path, folder = tmp_path / "archive", tmp_path / "data/Toy"
    folder.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    unpack.unpack(path, folder, lambda: None)
    assert [each.name for each in folder.parent.iterdir()] == ["Toy"]
    return {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()}


def check_refused(tmp_path, content, kind, message):
    """Check that `content` is refused and that nothing is left."""
    with pytest.raises(kind, match=message):
        unpacked(tmp_path, content)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["archive", "data"]


@pytest.mark.parametrize("kind", ["tar", "gz", "xz", "zip"])
def test_every_kind_of_archive(tmp_path, kind):
    (tmp_path / "plain").write_bytes(packed(kind=kind))
    assert archive_kind(tmp_path / "plain") == kind
    assert unpacked(tmp_path, packed(kind=kind)) == KEPT
    assert (tmp_path / "data/Toy/imagesTr/a.nii.gz").read_bytes() == b"x" * 50000


@pytest.mark.parametrize(
    ("members", "names"),
    [
        ({"dataset.json": b"{}", "imagesTr/a.nii": b"a"}, {"dataset.json", "imagesTr/a.nii"}),
        ({"./Toy/imagesTr/a.nii": b"a"}, {"imagesTr/a.nii"}),
        ({"T/dataset.json": b"", "__MACOSX/T/._x": b"", ".DS_Store": b""}, {"dataset.json"}),
        ({"T/dataset.json": b"", "T/ümlaut (1) + 2.nii": b""}, {"dataset.json", "ümlaut (1) + 2.nii"}),
    ],
)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_layouts_of_archives(tmp_path, members, names, kind):
    assert unpacked(tmp_path, packed(members, kind)) == names


def test_old_tar_without_signature(tmp_path):
    buffer = bytearray(archive({"Toy/dataset.json": b"{}"}))
    buffer[257:265] = bytes(8)
    total = sum(buffer[:148]) + 8 * 32 + sum(buffer[156:512])
    buffer[148:156] = b"%06o\0 " % total
    assert unpacked(tmp_path, bytes(buffer)) == {"dataset.json"}


@pytest.mark.parametrize(
    "member",
    [
        special("Toy/link", tarfile.SYMTYPE, "/etc/passwd"),
        special("Toy/link", tarfile.SYMTYPE, "dataset.json"),
        special("Toy/link", tarfile.LNKTYPE, "Toy/dataset.json"),
        special("Toy/pipe", tarfile.FIFOTYPE),
        special("Toy/device", tarfile.CHRTYPE),
        special("Toy/disk", tarfile.BLKTYPE),
        special("Toy/sparse", tarfile.GNUTYPE_SPARSE),
    ],
)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_members_that_are_no_files(tmp_path, member, mode):
    check_refused(
        tmp_path,
        archive(extra=[member], mode=mode),
        DataError,
        f"'{member.name}', which is neither a file nor a folder",
    )


def test_link_in_a_zip(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        info = zipfile.ZipInfo("Toy/link")
        info.external_attr = 0o120777 << 16
        file.writestr(info, "/etc/passwd")
    check_refused(tmp_path, buffer.getvalue(), DataError, "'Toy/link', which is neither a file nor a folder")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../outside", "leads upward: '../outside'"),
        ("Toy/../../outside", "leads upward"),
        ("Toy/..", "leads upward"),
        ("/outside", "an absolute path: '/outside'"),
        ("//server/share/x", "an absolute path"),
        ("C:/outside", "an absolute path: 'C:/outside'"),
        ("c:outside", "an absolute path"),
        ("Toy\\..\\outside", "a backslash"),
        ("Toy/a\nb", "control character"),
        ("Toy/\x1b[2Jx", "control character"),
        ("Toy/" + "n" * 256, "too long .260 bytes; 255 a part, 1024 in all are allowed"),
        ("Toy/" + "d/" * 600 + "x", "too long"),
        ("Toy/" + "ü" * 128, "too long .260 bytes"),
    ],
)
@pytest.mark.parametrize("kind", ["tar", "gz", "zip"])
def test_names_that_lead_elsewhere(tmp_path, name, why, kind):
    check_refused(tmp_path, packed({**GOOD, name: b"bad"}, kind), DataError, f"the archive holds .*{why}")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["..", ".", "", "a", "C:", "\\", "/", "\0", "é", "b.nii"]), max_size=5).map("/".join))
@example("/..//a")
def test_no_name_leaves_the_folder(tmp_path, name):
    try:
        path = unpack._safe_path(name)
    except DataError:
        return
    target = os.path.normpath(tmp_path / path)
    assert target == str(tmp_path) or target.startswith(f"{tmp_path}{os.sep}")


@pytest.mark.parametrize("kind", ["tar", "gz", "zip"])
@pytest.mark.parametrize(
    ("first", "second"),
    [("Toy/imagesTr/a.nii.gz", "Toy//imagesTr/./a.nii.gz"), ("Toy/x", "Toy/x/y"), ("Toy/x/y", "Toy/x")],
)
def test_one_name_for_two(tmp_path, first, second, kind):
    members = {"Toy/dataset.json": b"{}", first: b"1", second: b"2"}
    check_refused(tmp_path, packed(members, kind), DataError, "twice, or both as a file and as a folder")


def test_modes_and_owners_are_not_taken_over(tmp_path):
    info = special("Toy/run")
    info.mode, info.uid, info.uname = 0o6777, 0, "root"
    assert unpacked(tmp_path, archive(extra=[info])) == KEPT | {"run"}
    assert (tmp_path / "data/Toy/run").stat().st_mode & 0o7111 == 0


def test_names_that_differ_in_case_alone_are_both_kept_or_refused(tmp_path):
    members = {"Toy/dataset.json": b"{}", "Toy/a.nii": b"1", "Toy/A.nii": b"2"}
    try:
        assert unpacked(tmp_path, packed(members)) == {"dataset.json", "a.nii", "A.nii"}
    except DataError as error:  # where the file system takes them for one
        assert "'Toy/A.nii' twice" in str(error)  # noqa: PT017


def test_folders_may_come_twice(tmp_path):
    folders = [special("Toy", tarfile.DIRTYPE), special("Toy/imagesTr", tarfile.DIRTYPE)]
    assert unpacked(tmp_path, archive(extra=folders)) == KEPT


@pytest.mark.parametrize("kind", ["tar", "gz", "xz", "zip"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_archives_that_are_cut(tmp_path, kind, share):
    content = packed({"Toy/dataset.json": b"{}", "Toy/a": os.urandom(30000), "Toy/b": os.urandom(30000)}, kind)
    check_refused(tmp_path, content[: int(share * len(content))], DamagedArchive, "the archive is not whole")


def test_tar_that_is_cut_between_two_members(tmp_path):
    content = archive({"Toy/dataset.json": b"{}", "Toy/a": b"a" * 512, "Toy/b": b"b"})
    check_refused(tmp_path, content[: 2 * 512 + 2 * 512], DamagedArchive, "not whole: its end is missing")


def test_tar_with_a_broken_header_inside(tmp_path):
    content = bytearray(archive({"Toy/dataset.json": b"{}", "Toy/a": b"a"}))
    content[1024 + 5] ^= 255
    check_refused(tmp_path, bytes(content), DamagedArchive, "not whole")


@pytest.mark.parametrize("kind", ["gz", "xz", "zip"])
def test_a_flipped_bit_is_noticed(tmp_path, kind):
    content = bytearray(packed({"Toy/dataset.json": b"{}", "Toy/a": os.urandom(30000)}, kind))
    content[len(content) // 2] ^= 1
    check_refused(tmp_path, bytes(content), DamagedArchive, "not whole")


@pytest.mark.parametrize("kind", ["gz", "zip"])
def test_bombs_are_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(unpack, "ALWAYS_ALLOWED", 0)
    bomb = packed({"Toy/dataset.json": b"{}", "Toy/zeros": bytes(10**7)}, kind)
    check_refused(tmp_path, bomb, DataError, "would unpack to more than 0.00 GB")


def test_bomb_of_empty_files(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "ALWAYS_ALLOWED", 10 * unpack.CLUSTER)
    bomb = packed({f"Toy/{i}": b"" for i in range(500)}, "gz")
    check_refused(tmp_path, bomb, DataError, "would unpack to more than")


def test_bomb_in_a_header(tmp_path):
    size = archives.MAX_READ + 1
    info = special("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=size)
    bomb = gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + b"n" * size, 1)
    check_refused(tmp_path, bomb, DataError, r"a header of \d+ bytes, at most 4194304 are read")


def test_encrypted_zip(tmp_path):
    content = bytearray(packed({"Toy/dataset.json": b"{}"}, "zip"))
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        content[content.index(signature) + offset] |= 1
    check_refused(tmp_path, bytes(content), DataError, "is encrypted .'Toy/dataset.json'")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"<!DOCTYPE html><title>Please log in</title>" * 50,
            "a web page instead of an archive: 'Please log in'; check",
        ),
        (b"\n <HTML><body>", "a web page instead of an archive; check"),
        (
            b"<?xml version='1.0'?><Error><Message>Access Denied</Message></Error>",
            "instead of an archive: 'Access Denied'",
        ),
        (b'{"error": 1}', r"no tar or zip archive; it is 12 bytes and begins with b'\{\"error\": 1\}'"),
        (b"", "no tar or zip archive; it is 0 bytes"),
        (b"\x00" * 5000, "no tar or zip archive"),
        (gzip.compress(b"no tar", mtime=0), "the archive is not whole"),
    ],
)
def test_something_else_than_an_archive(tmp_path, content, message):
    check_refused(tmp_path, content, DamagedArchive, message)


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_archive_without_a_dataset(tmp_path, kind):
    names = {"x/readme": b"", "y": b""}
    check_refused(tmp_path, packed(names, kind), DataError, r"neither dataset\.json nor imagesTr in \['x', 'y'\]")


def test_space_is_looked_at_before_unpacking(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": fetch.SPARE + 1000}))
    check_refused(tmp_path, packed(kind="zip"), JobError, r"GB free; what the archive holds needs 0\.00 GB")


def test_disk_that_fills_while_unpacking(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unpack.os, "fsync", full)
    check_refused(
        tmp_path, packed(), JobError, r"cannot write .*dataset\.json: No space left on device; the archive is kept"
    )


def test_a_lost_lock_forbids_the_renaming(tmp_path):
    def lost():
        raise JobError("lost")

    (tmp_path / "archive").write_bytes(packed())
    (tmp_path / "data").mkdir()
    with pytest.raises(JobError, match="lost"):
        unpack.unpack(tmp_path / "archive", tmp_path / "data/Toy", lost)
    assert not list((tmp_path / "data").iterdir())
