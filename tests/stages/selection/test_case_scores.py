"""A case of an ensemble against the mean of probabilities by hand, and what is kept of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segfw.core.errors import ArtefactError
from segfw.core.imaging.preprocessing import CropRecord, PreprocessedCase
from segfw.core.scoring.postprocessing import Step
from segfw.data.case_files import save_case
from segfw.data.kept_logits import save_logits
from segfw.io.formats.readers import read_label
from segfw.stages.selection.case_scores import CaseTask, KeptMap, average, measure_components, score_case
from tests.stages.tiny_dataset import write
from tests.training.conftest import make_plan

SHAPE = (3, 4, 5)
RECORD = CropRecord((1.0, 1.0, 1.0), SHAPE, ((0, 3), (0, 4), (0, 5)), SHAPE, SHAPE)


def softmax(logits):
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(0)


@pytest.fixture
def task(tmp_path: Path) -> tuple[CaseTask, list[np.ndarray]]:
    """A case that two configurations see on the image's own grid, and their logits."""
    plan = make_plan()
    own = plan.configurations["3d_fullres"]
    plan = replace(plan, configurations={"one": own, "two": own})
    rng = np.random.default_rng(0)
    logits = [(rng.normal(size=(3, *SHAPE)) * scale).astype(np.float16) for scale in (1, 4)]
    image = PreprocessedCase(np.zeros((1, *SHAPE), np.float32), None, {}, RECORD)
    maps = []
    for name, values in zip(("one", "two"), logits, strict=True):
        save_case(tmp_path / name, "c", image)
        save_logits(tmp_path / f"{name}.npz", values, "x")
        maps.append(KeptMap(name, str(tmp_path / f"{name}.npz"), str(tmp_path / name)))
    reference = rng.integers(0, 3, SHAPE).astype(np.uint8)
    write(tmp_path / "reference.nii.gz", reference, (1.0, 1.0, 1.0))
    made = CaseTask("c", str(tmp_path / "reference.nii.gz"), {}, plan, str(tmp_path / "made/c.npz"), "x", tuple(maps))
    return made, logits


def test_the_ensemble_is_the_best_of_the_mean_of_probabilities(task):
    case, logits = task
    expected = (softmax(logits[0]) + softmax(logits[1])).argmax(0)
    np.testing.assert_array_equal(average(case), expected)
    mean_of_logits = logits[0].astype(np.float32) + logits[1]
    assert (mean_of_logits.argmax(0) != expected).any()
    (alone,) = (average(replace(case, maps=(kept,))) for kept in case.maps[1:])
    np.testing.assert_array_equal(alone, logits[1].argmax(0))


def test_its_score_by_hand_and_that_it_is_made_once(task):
    case, logits = task
    expected = (softmax(logits[0]) + softmax(logits[1])).argmax(0)
    reference = read_label(case.reference).array[0]
    scored = score_case((case, ()))
    for name, value in (("core", 1), ("shell", 2)):
        both = (expected == value) & (reference == value)
        dice = 2 * both.sum() / ((expected == value).sum() + (reference == value).sum())
        assert scored.labels[name].dice == pytest.approx(dice)
    for kept in case.maps:
        Path(kept.logits).unlink()
    assert score_case((case, ())) == scored
    with pytest.raises(ArtefactError, match=r"one\.npz"):
        score_case((replace(case, made_from="y"), ()))


def test_a_damaged_segmentation_is_made_again(task):
    case, _ = task
    scored = score_case((case, ()))
    Path(case.segmentation).write_bytes(b"PK\x03\x04 nothing")
    assert score_case((case, ())) == scored


def test_steps_are_applied_before_scoring(task):
    """Of a map with two separate voxels of label 1 the largest-component rule keeps both: they tie. A least volume of
    2 mm³ removes both."""
    case, _ = task
    segmentation = np.zeros(SHAPE, np.uint8)
    segmentation[0, 0, 0] = segmentation[2, 3, 4] = 1
    path = Path(case.segmentation).with_name("alone.nii.gz")
    write(path, segmentation, (1.0, 1.0, 1.0))
    alone = replace(case, segmentation=str(path), maps=case.maps[:1])
    assert score_case((alone, ())).labels["core"].n_pred == 2
    assert score_case((alone, (Step("keep_largest", (1,)),))).labels["core"].n_pred == 2
    removed = (Step("remove_small", (1,), minimum_mm3=2.0),)
    assert score_case((alone, removed)).labels["core"].n_pred == 0
    assert [list(v) for v in measure_components((alone, ())).values()] == [[1.0], []]
    assert [list(v) for v in measure_components((alone, removed)).values()] == [[], []]


def test_a_validation_whose_file_is_gone_comes_from_its_logits(task):
    case, logits = task
    alone = replace(case, segmentation=case.segmentation.replace(".npz", ".nii.gz"), maps=case.maps[:1])
    scored = score_case((alone, ()))
    assert scored.labels["core"].n_pred == (logits[0].argmax(0) == 1).sum()
    assert not Path(alone.segmentation).exists()


def test_logits_on_another_grid_are_refused(task):
    case, logits = task
    save_logits(Path(case.maps[1].logits), logits[1][:, :2], "x")
    with pytest.raises(ArtefactError, match=r"two\.npz has a map of \(2, 4, 5\) voxels, the case has \(3, 4, 5\)"):
        average(case)
