"""Kept logits: bit for bit the same again, recognized by what they were made from, damaged files refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.errors import ArtefactError, UsageError
from segfw.data.kept_logits import has_logits, load_logits, logits_path, save_logits


@given(st.binary(min_size=2 * 2 * 3 * 4 * 5, max_size=2 * 2 * 3 * 4 * 5))
def test_every_pattern_of_bits_comes_back(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("kept") / "a.npz"
    logits = np.frombuffer(content, np.float16).reshape(2, 3, 4, 5)
    save_logits(path, logits, "x")
    loaded = load_logits(path)
    assert (loaded.dtype, loaded.shape) == (np.float16, (2, 3, 4, 5))
    assert loaded.tobytes() == content


def test_a_smooth_map_takes_less_than_its_size_and_numpy_reads_the_parts(tmp_path: Path) -> None:
    grid = np.linspace(-8, 8, 64, dtype=np.float32)
    logits = (grid[:, None, None] + np.sin(grid)[:, None] * grid)[None].astype(np.float16)
    path = logits_path(tmp_path, "case")
    assert path == tmp_path / "logits" / "case.npz"
    save_logits(path, logits, "x")
    assert path.stat().st_size < 0.75 * logits.nbytes
    with np.load(path) as parts:
        np.testing.assert_array_equal(
            parts["high"] * np.uint16(256) + parts["low"].astype(np.uint16), logits.view(np.uint16)
        )
    first = path.read_bytes()
    save_logits(path, logits, "x")
    assert path.read_bytes() == first


def test_parts_of_an_array_are_written_like_a_copy(tmp_path: Path) -> None:
    whole = np.arange(96, dtype=np.float16).reshape(4, 2, 3, 4)
    save_logits(tmp_path / "a.npz", whole[1:3, :, ::2], "x")
    np.testing.assert_array_equal(load_logits(tmp_path / "a.npz"), whole[1:3, :, ::2])


def test_they_are_known_by_what_they_were_made_from(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    assert not has_logits(path, "x")
    save_logits(path, np.zeros((1, 1, 1, 1), np.float16), "x")
    assert has_logits(path, "x")
    assert not has_logits(path, "y")


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(ArtefactError, match=r"a\.npz.*delete the file"):
        load_logits(path)
    save_logits(path, np.random.default_rng(0).normal(size=(2, 8, 8, 8)).astype(np.float16), "x")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"a\.npz.*delete the file"):
        load_logits(path)
    path.write_bytes(content[:100])
    assert not has_logits(path, "x")
    with pytest.raises(UsageError, match="got float32"):
        save_logits(path, np.zeros((1, 1, 1, 1), np.float32), "x")  # type: ignore[arg-type]
