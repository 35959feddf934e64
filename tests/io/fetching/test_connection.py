"""What a server may answer: a false length or none, blocks, redirects, refusals, a request to wait, nothing at all."""

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.errors import JobError
from segfw.io.fetching import connection, fetch
from segfw.io.fetching.connection import MODEL, Version, retry_after
from tests.io.fetching.archive_site import CONTENT, drop, get, give, head, ignore, refuse


def stating(length):
    """Return an answer that says of itself that it has the given length."""
    return lambda handler, start: give(handler, start, Content_Length=length)


@pytest.mark.parametrize("length", ["absent", "-5", "many", "1e5", "", "9" * 30])
def test_length_that_says_nothing(serve, part, length):
    said = None if length == "absent" else length
    site, seen = serve(CONTENT, answers=[stating(said)]), []
    get(site, part, lambda done, total: seen.append(total))
    assert set(seen) == {None}


def test_length_that_is_too_long(serve, part):
    site = serve(CONTENT, answers=[stating("102500")])
    get(site, part)
    assert site.asked == [None, "bytes=102400-"]


def test_length_that_is_always_too_long(serve, part):
    site = serve(CONTENT, answers=[lambda handler, start: give(handler, 0, Content_Length="102500")] * 10)
    with pytest.raises(JobError, match=r"after 102400 of 102500 bytes stated; 0\.1 MB are kept"):
        fetch.fetch(site.url, part, ignore)
    assert len(site.asked) == 1 + fetch.ATTEMPTS


def test_length_that_is_too_short_cuts_the_file(serve, part):
    site = serve(CONTENT, answers=[stating("100")])
    fetch.fetch(site.url, part, ignore)
    assert part.read_bytes() == CONTENT[:100]  # the archive tells


TOO_LARGE = r"GB free; the archive with what it holds \(the server states 1000000000\.00 GB\) needs 2000000000\.00 GB"


def test_absurd_length_is_refused_before_a_byte(serve, part):
    site = serve(CONTENT, answers=[stating("9" * 18)])
    with pytest.raises(JobError, match=TOO_LARGE):
        fetch.fetch(site.url, part, ignore)
    assert part.stat().st_size == 0


def chunked(handler, start, until=102400, end=b"0\r\n\r\n"):
    handler.protocol_version = "HTTP/1.1"
    head(
        handler,
        206 if start else 200,
        {"Transfer-Encoding": "chunked", **handler.server.headers, "Connection": "close"},
    )
    for place in range(start, until, 10000):
        block = CONTENT[place : min(place + 10000, until)]
        handler.wfile.write(f"{len(block):x}\r\n".encode() + block + b"\r\n")
    handler.wfile.write(end)


def test_chunked_answers(serve, part):
    assert not get(serve(CONTENT, answers=[chunked]), part)


def test_chunked_answer_that_is_cut(serve, part):
    site = serve(CONTENT, answers=[lambda handler, start: chunked(handler, start, 50000, b"")])
    assert get(site, part)
    assert site.asked == [None, "bytes=50000-"]


def test_an_answer_without_end_is_given_up_and_removed(serve, part):
    wanted = replace(MODEL, most=50000)
    with pytest.raises(JobError, match=r"how long the model is, and has sent more than 0\.00 GB; .* removed, or"):
        fetch.fetch(serve(CONTENT, answers=[chunked]).url, part, ignore, wanted)
    assert list(part.parent.iterdir()) == []
    assert not fetch.fetch(serve(CONTENT).url, part, ignore, wanted)  # one that says its length is as long as it says


def test_redirects_are_followed_also_when_going_on(serve, part):
    site = serve(CONTENT)
    site.answers = [refuse(302, Location="/there"), drop, refuse(307, Location="/there")]
    assert get(site, part)
    assert site.paths == ["/Toy.tar", "/there", "/Toy.tar", "/there"]
    assert site.asked[-1] == "bytes=51200-"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("ftp://host/x", "leads to ftp://host/x; only http"),
        ("file:///etc/passwd", "302.*not allowed"),
        ("/Toy.tar", "302"),
    ],
)
def test_redirects_that_are_not_followed(serve, part, place, message):
    site = serve(CONTENT, answers=[refuse(302, Location=place)] * 20)
    with pytest.raises(JobError, match=message):
        fetch.fetch(site.url, part, ignore)


@pytest.mark.parametrize(("status", "name"), [(403, "Forbidden"), (404, "Not Found"), (410, "Gone"), (401, "Unauth")])
def test_final_refusals(serve, part, status, name):
    site = serve(CONTENT, answers=[refuse(status)])
    with pytest.raises(JobError, match=rf"cannot fetch {site.url}: the server answers {status} {name}.*file:///PATH"):
        fetch.fetch(site.url, part, ignore)
    assert len(site.asked) == 1


def test_answer_without_a_file(serve, part):
    with pytest.raises(JobError, match="answers 204 No Content, without a file"):
        fetch.fetch(serve(CONTENT, answers=[refuse(204)]).url, part, ignore)


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_passing_refusals_are_tried_again(serve, part, status):
    site = serve(CONTENT, answers=[refuse(status), refuse(status), drop, refuse(status)])
    assert get(site, part)
    assert site.asked == [None, None, None, "bytes=51200-", "bytes=51200-"]


def test_pauses_grow_and_follow_the_server(serve, part, monkeypatch):
    pauses = []
    monkeypatch.setattr(fetch.time, "sleep", pauses.append)
    monkeypatch.setattr(fetch, "PAUSE", 1.0)
    busy = refuse(503)
    get(serve(CONTENT, answers=[busy, busy, busy, refuse(503, Retry_After="7")]), part)
    assert pauses == [1.0, 2.0, 4.0, 7.0]


def test_server_that_never_recovers(serve, part):
    site = serve(CONTENT, answers=[refuse(503)] * 10)
    with pytest.raises(JobError, match="answers 503 Service Unavailable; give the same command again"):
        fetch.fetch(site.url, part, ignore)
    assert len(site.asked) == fetch.ATTEMPTS


def test_server_that_asks_to_wait_too_long(serve, part):
    site = serve(CONTENT, answers=[refuse(503, Retry_After="86400")])
    with pytest.raises(JobError, match=r"503.*asks to come back in 86400 s"):
        fetch.fetch(site.url, part, ignore)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("120", 120.0), ("soon", None), ("", None), ("-1", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)],
)
def test_retry_after(value, seconds):
    assert retry_after({"Retry-After": value}) == seconds


def test_server_that_hangs(serve, part, monkeypatch):
    monkeypatch.setattr(connection, "TIMEOUT", 0.1)

    def hang(handler, start):
        give(handler, start, send=1000)
        handler.wfile.flush()
        time.sleep(0.4)

    site = serve(CONTENT, answers=[hang, lambda handler, start: time.sleep(0.4)])
    assert get(site, part)
    assert site.asked == [None, "bytes=1000-", "bytes=1000-"]


def test_no_server(serve, part):
    site = serve(b"")
    site.shutdown()
    site.server_close()
    with pytest.raises(JobError, match=r"cannot fetch http://127\.0\.0\.1.*refused; give the same command again"):
        fetch.fetch(site.url, part, ignore)


def test_something_else_than_http(serve, part):
    site = serve(CONTENT, answers=[lambda handler, start: handler.wfile.write(b"220 mail\r\n")] * 10)
    with pytest.raises(JobError, match="220 mail"):
        fetch.fetch(site.url, part, ignore)


versions = st.builds(
    Version,
    url=st.sampled_from(["http://a/x", "http://b/x"]),
    etag=st.sampled_from([None, '"1"', 'W/"1"', '"2"']),
    modified=st.sampled_from([None, "Mon", "Tue"]),
    length=st.sampled_from([None, 1, 2]),
)


@given(versions, versions)
def test_two_versions_are_the_same_both_ways_and_only_if_something_is_known(first, second):
    assert first.is_also(second) == second.is_also(first)
    assert first.is_also(first) == (first != Version(first.url))
    if first.is_also(second) and None not in (first.etag, second.etag):
        assert first.etag == second.etag
