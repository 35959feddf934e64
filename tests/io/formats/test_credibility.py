"""A size that the file or the memory cannot hold is refused; the limits are the compression's and the machine's."""

from pathlib import Path

import pytest

from segfw.core.errors import DataError
from segfw.io.formats import credibility
from segfw.io.formats.credibility import DEFLATE_LIMIT, MOST_PACKED, UNASKED, require_memory, require_packable

PATH = Path("a.nii.gz")


def test_no_more_than_the_compression_makes_of_a_file():
    require_packable(PATH, 1032 * 100, 100, DEFLATE_LIMIT)
    with pytest.raises(DataError, match=r"cannot read a.nii.gz: its header states 103201 bytes, more than 100 packed"):
        require_packable(PATH, 1032 * 100 + 1, 100, DEFLATE_LIMIT)


def test_few_bytes_are_let_through_where_the_compression_is_not_known():
    require_packable(PATH, UNASKED, 1)
    require_packable(PATH, 2 * UNASKED, 2 * UNASKED // MOST_PACKED + 1)
    with pytest.raises(DataError, match=r"more than 1 packed bytes can hold"):
        require_packable(PATH, UNASKED + 1, 1)


def test_no_more_than_memory_has_room_for(monkeypatch):
    monkeypatch.setattr(credibility, "available_memory", lambda: 3 * 10**9)
    require_memory(PATH, 10**9, 2 * 10**9)
    with pytest.raises(DataError, match=r"a.nii.gz: there is not enough memory .*: it takes 3.5 GB, 3 GB are free"):
        require_memory(PATH, 15 * 10**8, 2 * 10**9)
