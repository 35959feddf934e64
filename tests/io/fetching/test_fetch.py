"""Fetching goes on where it was cut, never with another file's bytes, and what it has is kept when the disk is full."""

import errno
import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segfw.core.errors import JobError
from segfw.io.fetching import fetch
from segfw.io.fetching.fetch import discard
from tests.io.fetching.archive_site import CONTENT, drop, get, give, ignore, serving

DATE = {"Last-Modified": "Wed, 21 Oct 2026 07:28:00 GMT"}


def begun(part, site, size, **said):
    """Leave what an earlier command that was killed leaves."""
    part.write_bytes(site.content[:size])
    version = {"url": site.url, "etag": None, "modified": None, "length": None, **said}
    part.with_name("Toy.part.json").write_text(json.dumps(version))


def test_one_connection(serve, part):
    site, seen = serve(CONTENT), []
    assert not get(site, part, lambda done, total: seen.append((done, total)))
    assert (seen[0], seen[-1]) == ((0, len(CONTENT)), (len(CONTENT), len(CONTENT)))
    assert json.loads(part.with_name("Toy.part.json").read_text()) == {
        "url": site.url,
        "etag": '"one"',
        "modified": None,
        "length": 102400,
    }
    assert get(site, part)
    assert site.asked == [None]  # nothing is missing, so nothing is asked


@pytest.mark.parametrize("said", [{"ETag": '"one"'}, DATE, {"ETag": 'W/"one"', **DATE}, {}])
def test_dropped_connections_are_taken_up_again(serve, part, said):
    site = serve(CONTENT, answers=[drop, drop], headers=said)
    assert get(site, part)
    assert site.asked == [None, "bytes=51200-", "bytes=76800-"]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=6))
def test_whatever_is_dropped_the_bytes_are_right(tmp_path_factory, quarters):
    part = tmp_path_factory.mktemp("drops") / "Toy.part"
    cuts = [lambda handler, start, q=q: give(handler, start, send=q * (len(CONTENT) - start) // 4) for q in quarters]
    with serving() as start, pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetch, "PAUSE", 0.0)
        site = start(CONTENT, answers=cuts)
        try:
            get(site, part)
        except JobError:
            assert any(quarters[i : i + 4] == [0] * 4 for i in range(len(quarters)))


def test_a_trickle_is_given_up(serve, part):
    content = bytes(20_000)
    site = serve(content, answers=[lambda handler, start: give(handler, start, send=6)] * 30)
    with pytest.raises(JobError, match="the connection was closed early"):
        fetch.fetch(site.url, part, ignore)
    assert len(site.asked) == fetch.ATTEMPTS
    assert part.stat().st_size == 6 * fetch.ATTEMPTS


def test_server_without_parts_begins_again(serve, part, caplog):
    site = serve(CONTENT, answers=[drop, drop], ranges=False)
    assert not get(site, part)
    assert len(site.asked) == 3
    assert "from its beginning; the 0.1 MB of before are dropped" in caplog.text


def test_part_of_a_killed_command_is_continued(serve, part):
    site = serve(CONTENT)
    begun(part, site, 1000, etag='"one"', length=102400)
    assert get(site, part)
    assert site.asked == ["bytes=1000-"]


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (1000, {"etag": '"zero"', "length": 102400}),  # another version: If-Range does not hold
        (1000, {"modified": "Wed, 21 Oct 2020 07:28:00 GMT"}),
        (1000, {"length": 102401}),  # no validator, and the length has changed
        (1000, {}),  # nothing is known that could agree
        (1000, {"url": "http://elsewhere/Toy.tar", "etag": '"one"'}),
        (102407, {"etag": '"one"', "length": 200000}),  # longer than the file
    ],
)
def test_part_of_another_file_or_version_is_never_continued(serve, part, size, said):
    site = serve(CONTENT, headers={"ETag": '"one"'} if "etag" in said else DATE if "modified" in said else {})
    begun(part, site, size, **said)
    part.write_bytes(b"?" * size)
    assert not get(site, part)


@pytest.mark.parametrize("description", [None, "no JSON", '{"url": 1, "other": 2}', "[]"])
def test_part_of_unknown_origin_is_begun_anew(serve, part, description, caplog):
    site = serve(CONTENT)
    part.write_bytes(b"?" * 1000)
    if description is not None:
        part.with_name("Toy.part.json").write_text(description)
    assert not get(site, part)
    assert site.asked == [None]
    assert f"{part} is not of {site.url}, or it is not known of what" in caplog.text


def test_part_that_the_server_calls_whole(serve, part):
    site = serve(CONTENT)
    begun(part, site, len(CONTENT), etag='"one"')
    assert get(site, part)
    assert site.asked == ["bytes=102400-"]


def test_file_that_changes_between_two_connections(serve, part):
    site = serve(b"?" * 102400, answers=[drop])

    def change(handler, start):
        site.content, site.headers = CONTENT, {"ETag": '"two"'}
        give(handler, 0)

    site.answers.append(change)
    assert not get(site, part)


def test_part_of_other_bytes_than_asked_for(serve, part):
    site = serve(CONTENT, answers=[drop, lambda handler, start: give(handler, 10)])
    assert not get(site, part)
    assert site.asked == [None, "bytes=51200-", None]


def test_full_disk_is_noticed_before_the_transfer(serve, part, monkeypatch):
    free = fetch.SPARE + 2 * len(CONTENT) - 1
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": free}))
    with pytest.raises(JobError, match=r"0\.07 GB free; the archive with what it holds .* needs 0\.00 GB.*data_root"):
        fetch.fetch(serve(CONTENT).url, part, ignore)
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": free + 1}))
    get(serve(CONTENT), part)


def test_disk_that_fills_during_the_transfer(serve, part, monkeypatch):
    def full(file, block):
        file.write(block[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    site = serve(CONTENT)
    with monkeypatch.context() as patch:
        patch.setattr(fetch, "_write", full)
        with pytest.raises(
            JobError, match=r"cannot write .*Toy\.part: No space left on device; 0\.0 MB are kept.*goes on"
        ):
            fetch.fetch(site.url, part, ignore)
    assert get(site, part)
    assert site.asked == [None, "bytes=1000-"]


def test_discard_leaves_nothing(serve, part):
    get(serve(CONTENT), part)
    discard(part)
    discard(part)
    assert not list(part.parent.iterdir())


def test_lines_of_the_log(serve, part, caplog):
    caplog.set_level(logging.INFO)
    get(serve(CONTENT, answers=[drop]), part)
    reason = "the connection was closed early, after 51200 of 102400 bytes stated"
    assert caplog.messages == [f"{reason}; trying again in 0 s"]
