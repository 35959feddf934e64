"""What a fold hands on comes back, mapped; what is missing, stale, damaged or of another grid is refused by name."""

import json
from pathlib import Path

import numpy as np
import pytest

from segfw.core.errors import ArtefactError, UsageError
from segfw.data.next_stage import (
    PreviousStage,
    commit_segmentations,
    has_segmentation,
    is_committed,
    save_segmentation,
)

MADE_FROM = {"weights": "abc", "next_stage": {"name": "fine", "spacing": [1.0, 1.0, 1.0]}}
SHAPE = (3, 4, 5)


def segmentation(value: int) -> np.ndarray:
    return np.full(SHAPE, value, np.uint8 if value < 255 else np.uint16)


def list_cases(folder: Path, cases: dict) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "cases": cases}))


@pytest.fixture
def folders(tmp_path: Path) -> dict[Path, dict]:
    """Two folds; both have segmented case b."""
    for fold, cases in enumerate((("a", "b"), ("b", "c"))):
        folder = tmp_path / f"fold_{fold}"
        for case in cases:
            save_segmentation(folder, case, segmentation(300 if case == "c" else fold))
        commit_segmentations(folder, cases, {**MADE_FROM, "fold": fold})
    return {tmp_path / f"fold_{fold}": {**MADE_FROM, "fold": fold} for fold in range(2)}


def test_each_case_comes_from_the_first_fold_that_has_it(folders: dict) -> None:
    opened = PreviousStage.open(folders, dict.fromkeys("abc", SHAPE))
    assert [int(opened.segmentation(case)[0, 0, 0]) for case in "abc"] == [0, 0, 300]
    assert [opened.segmentation(case).dtype for case in "ac"] == [np.uint8, np.uint16]
    assert opened.segmentation("a").shape == SHAPE
    with pytest.raises(ValueError, match="read-only"):
        opened.segmentation("a")[:] = 1
    with pytest.raises(UsageError, match="no segmentation of case 'd' by the previous stage, of 3"):
        opened.segmentation("d")


def test_a_case_that_no_fold_has(folders: dict) -> None:
    with pytest.raises(ArtefactError, match=r"1 cases have no segmentation of the previous stage, such as \['d'\]"):
        PreviousStage.open(folders, dict.fromkeys("abd", SHAPE))


def test_a_case_on_another_grid(folders: dict) -> None:
    with pytest.raises(ArtefactError, match=r"b\.segmentation\.npy has shape \(3, 4, 5\), the case has \(3, 4, 6\)"):
        PreviousStage.open(folders, {"a": SHAPE, "b": (3, 4, 6)})


def test_other_weights_are_stale(folders: dict) -> None:
    folder = min(folders)
    assert is_committed(folder, folders[folder])
    assert is_committed(folder, folders[folder], "ab")
    assert not is_committed(folder, folders[folder], "abz")
    assert not is_committed(folder, {**folders[folder], "weights": "def"})
    with pytest.raises(ArtefactError, match=r"fold_0 is stale \(weights changed since\); run the train stage"):
        PreviousStage.open({folder: {**folders[folder], "weights": "def"}}, {"a": SHAPE})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), r"not complete: it has no manifest\.json"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "cannot read"),
        (lambda folder: (folder / "manifest.json").write_text('{"format": 1}'), "is damaged"),
        (lambda folder: list_cases(folder, {"a": {}}), r"is damaged: missing key 'cases\.a\.members'"),
        (lambda folder: list_cases(folder, {"a": {"members": {}, "shape": [3]}}), r"members must be .*; run the train"),
        (lambda folder: (folder / "a.segmentation.npy").unlink(), r"case 'a': a\.segmentation\.npy is missing"),
        (lambda folder: (folder / "a.segmentation.npy").write_bytes(b""), r"has 0 bytes instead of 188"),
    ],
)
def test_damage_is_named(folders: dict, damage, message: str) -> None:
    folder = min(folders)
    damage(folder)
    assert not is_committed(folder, folders[folder])
    with pytest.raises(ArtefactError, match=message):
        PreviousStage.open(folders, {"a": SHAPE})


def test_saving_again_uncommits(folders: dict) -> None:
    folder = min(folders)
    save_segmentation(folder, "a", segmentation(2))
    assert has_segmentation(folder, "a")
    assert not has_segmentation(folder, "z")
    assert not is_committed(folder, folders[folder])
