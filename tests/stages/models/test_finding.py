"""Models at an address: fetched once, kept under their checksum, and never another file."""

import hashlib

import pytest

from segfw.core.errors import DataError, JobError, UsageError
from segfw.core.settings.training import PretrainedSettings
from segfw.core.settings.verbs import ExportSettings, ImportSettings
from segfw.io.fetching import fetch
from segfw.stages.models import export, import_model
from segfw.stages.models.finding import find_model
from segfw.stages.trainings.pretrained import check_pretrained
from tests.io.fetching.archive_site import drop, give, refuse, serving

CONTENT = bytes(range(256)) * 300
SUM = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    with serving() as start:
        yield start


def test_it_is_fetched_once_and_kept(serve, tmp_path):
    site = serve(CONTENT)
    found = find_model(site.url, SUM.upper(), str(tmp_path / "cache"))
    assert (found, found.read_bytes()) == (tmp_path / "cache" / f"{SUM}.zip", CONTENT)
    assert find_model(site.url.replace("Toy", "Other"), SUM, str(tmp_path / "cache")) == found
    assert len(site.asked) == 1
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"{SUM}.zip"]


def test_a_kept_file_that_was_changed_is_fetched_again(serve, tmp_path):
    site = serve(CONTENT)
    find_model(site.url, SUM, str(tmp_path)).write_bytes(b"damaged")
    assert find_model(site.url, SUM, str(tmp_path)).read_bytes() == CONTENT


def test_an_interrupted_connection_is_gone_on_with(serve, tmp_path):
    site = serve(CONTENT, answers=[drop, give])
    assert find_model(site.url, SUM, str(tmp_path)).read_bytes() == CONTENT
    assert site.asked == [None, f"bytes={len(CONTENT) // 2}-"]


def test_pieces_that_do_not_fit_are_fetched_once_more(serve, tmp_path):
    def heal(handler, start):
        handler.server.content = CONTENT
        give(handler, start)

    site = serve(b"?" + CONTENT[1:], answers=[drop, heal])
    assert find_model(site.url, SUM, str(tmp_path)).read_bytes() == CONTENT
    assert len(site.asked) == 3


def test_another_file_is_refused_and_removed(serve, tmp_path):
    site = serve(b"another model")
    found = hashlib.sha256(b"another model").hexdigest()
    with pytest.raises(DataError, match=f"has the SHA-256 {found}, model_sha256 is {SUM}; removed"):
        find_model(site.url, SUM, str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_an_address_without_checksum_says_what_to_add(serve, tmp_path):
    site = serve(CONTENT)
    with pytest.raises(UsageError, match=r"is an address, which needs the checksum.*add model_sha256=64_HEX"):
        find_model(site.url, None, str(tmp_path))
    assert site.asked == []


def test_what_a_server_refuses_is_told_in_the_models_words(serve, tmp_path):
    site = serve(CONTENT, answers=[refuse(404)])
    with pytest.raises(JobError, match=r"answers 404 .*check model, or get the \.zip another way and give model=PATH"):
        find_model(site.url, SUM, str(tmp_path))


@pytest.mark.parametrize("address", ["ftp://host/m.zip", "file:///m.zip", "s3://bucket/m.zip"])
def test_other_addresses_are_refused(address, tmp_path):
    with pytest.raises(UsageError, match=f"begins with https:// or http://.*{address}"):
        find_model(address, SUM, str(tmp_path))


def test_a_password_is_not_sent(tmp_path):
    with pytest.raises(UsageError, match="model holds a user name or a password"):
        find_model("https://me:secret@host/m.zip", SUM, str(tmp_path))


def test_a_file_on_disk_may_be_checked_too(tmp_path):
    path = tmp_path / "m.zip"
    path.write_bytes(CONTENT)
    assert find_model(str(path), SUM, "unused") == path
    assert find_model(str(path), None, "unused") == path
    with pytest.raises(DataError, match=rf"m\.zip has the SHA-256 {SUM}, model_sha256 is {'0' * 64}"):
        find_model(str(path), "0" * 64, "unused")
    with pytest.raises(UsageError, match=r"model_sha256 is of a \.zip, but model=.* is a folder"):
        find_model(str(tmp_path), SUM, "unused")


def test_what_does_not_fetch_refuses_an_address_as_it_was_given(tmp_path):
    url, output = "https://host/m.zip", str(tmp_path / "out")
    with pytest.raises(UsageError, match=f"model: {url} is an address, and only predict fetches"):
        export.run(ExportSettings(model=url, format="onnx", output=output))
    with pytest.raises(UsageError, match=f"source: {url} is an address"):
        import_model.run(ImportSettings(source=url, output=output))
    with pytest.raises(UsageError, match=f"pretrained.path: {url} is an address"):
        check_pretrained(PretrainedSettings(path=url))
