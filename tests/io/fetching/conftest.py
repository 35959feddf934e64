"""A site that asks for no patience, and a place for what is fetched from it."""

import pytest

from segfw.io.fetching import fetch
from tests.io.fetching.archive_site import serving


@pytest.fixture
def serve(monkeypatch):
    """Give `start` of `serving`, while nobody pauses before trying again."""
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    with serving() as start:
        yield start


@pytest.fixture
def part(tmp_path):
    """Give the path of a file that is fetched."""
    return tmp_path / "Toy.part"
