"""Absolute paths are recognized in free text and in nested arguments; ordinary words and addresses are not."""

import pytest

from segfw.core.cases.places import place_in, places_in


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("/home/x/w.pt", "/home/x/w.pt"),
        ("see /data/lee/readme and ask", "/data/lee/readme"),
        ("path=/mnt/a", "/mnt/a"),
        ("(~/w.pt)", "~/w.pt)"),
        ("~lee/w.pt", "~lee/w.pt"),
        ("C:\\models\\w.pt", "C:\\models\\w.pt"),
        ("d:/models", "d:/models"),
        ("\\\\server\\share", "\\\\server\\share"),
        ("file:///home/x", "file:///home/x"),
        ("/weights", "/weights"),
    ],
)
def test_absolute_paths(text, place):
    assert place_in(text) == place


@pytest.mark.parametrize(
    "text",
    [
        "",
        "CC-BY-SA 4.0",
        "https://a.org/b/c",
        "and/or n/a",
        "N /A",
        "conv 3/3/3",
        "a / b",
        "resnet/18",
        "10.1000/182",
        "s3://b/c",
    ],
)
def test_what_is_no_place(text):
    assert place_in(text) is None


def test_nested_arguments_name_their_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pt").write_bytes(b"")
    arguments = {"width": 3, "w": "w.pt", "deep": [{"a": "x"}, {"b": "/a/b"}], "/home/x": 1, "v": "v.pt", "n": "a\0b"}
    assert dict(places_in("k", arguments)) == {"k.w": "w.pt", "k.deep.1.b": "/a/b", "k": "/home/x"}
    assert list(places_in("k", {"long": "x" * 5000, "none": None})) == []
