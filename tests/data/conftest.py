"""Small preprocessed cases."""

from pathlib import Path

import numpy as np
import pytest

from segfw.core.imaging.preprocessing import CropRecord, PreprocessedCase
from segfw.core.labels import LabelSet
from segfw.data.case_files import commit_store, save_case
from segfw.data.store import Store

LABELS = LabelSet({"background": 0, "front": 1, "back": 2})


def make_case(shape: tuple[int, ...], seed: int = 0, channels: int = 1) -> PreprocessedCase:
    """Two boxes of labels 1 and 2 in noise; a shell of -1 on the first axis's last slice."""
    rng = np.random.default_rng(seed)
    label = np.zeros((1, *shape), np.int16)
    label[0, 1:3, 2:5, 2:5] = 1
    label[0, 3:5, 4:7, 4:7] = 2
    label[0, -1] = -1
    image = rng.standard_normal((channels, *shape)).astype(np.float32)
    record = CropRecord((1.0, 1.0, 2.0), shape, tuple((0, n) for n in shape), shape, shape)
    locations = {(value,): np.flatnonzero(label == value) for value in (1, 2)}
    return PreprocessedCase(image, label, locations, record)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three cases of different shapes."""
    for number, shape in enumerate([(8, 10, 12), (7, 9, 9), (12, 16, 14)]):
        save_case(tmp_path, f"case_{number}", make_case(shape, number))
    commit_store(tmp_path, {"spacing": [1.0, 1.0, 2.0]})
    return Store.open(tmp_path)
