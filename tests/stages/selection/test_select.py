"""Selection through the stages: two configurations on two folds of tiny images, their ensemble, and its package."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segfw.core.cases.splits import Fold
from segfw.core.errors import UsageError
from segfw.core.planning.plan_yaml import plan_from_yaml, plan_to_yaml
from segfw.core.scoring import selection
from segfw.core.scoring.postprocessing import apply_steps
from segfw.core.scoring.selection import Candidate, Selection
from segfw.core.settings.checks import check_settings
from segfw.core.settings.schema import (
    ExecutorSettings,
    ExperimentSettings,
    InferenceSettings,
    PlannerSettings,
    SelectionSettings,
    SplitSettings,
    TaskSettings,
)
from segfw.core.settings.training import TrainerSettings
from segfw.data.kept_logits import load_logits
from segfw.inference.bundle import load_bundle
from segfw.inference.predictor import CasePredictor
from segfw.io.formats.readers import read_image
from segfw.stages import pipeline
from segfw.stages.job import Job, prepare
from segfw.stages.selection import select
from segfw.training.callbacks import curves_log
from segfw.training.run import FoldRun
from segfw.workspace import read_artefact
from tests.inference.tiny_model import make_plan
from tests.stages.tiny_dataset import describe, image_file, label_file, write

SHAPE = (6, 16, 14)
NAMES = ("ann", "bob", "cyd", "dot")
PAIR = "default/planned/2d + default/planned/3d_fullres"


def make_dataset(folder: Path) -> None:
    folder.mkdir()
    describe(folder, numTraining=len(NAMES))
    for number, name in enumerate(NAMES):
        rng = np.random.default_rng(number)
        label = np.zeros(SHAPE, np.uint8)
        label[1:4, 3:9, 2 + number : 8 + number] = 1
        label[2:4, 10:13, 4:8] = 2
        write(image_file(folder, name), (label * 60 + rng.integers(1, 60, SHAPE)).astype(np.int16), (1.0, 1.2, 2.0))
        write(label_file(folder, name), label, (1.0, 1.2, 2.0))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExperimentSettings]:
    """Train 2d and 3d_fullres on both folds, by a plan of tiny networks; return the settings of the command."""
    root = tmp_path_factory.mktemp("select")
    make_dataset(root / "Tiny")
    given = ExperimentSettings(
        task=TaskSettings(name="Tiny", folder="Tiny"),
        data_root=str(root),
        output_root=str(root / "out"),
        stages=["fingerprint", "plan"],
        split=SplitSettings(num_folds=2),
        trainer=TrainerSettings(
            max_epochs=1, limit_train_batches=1, limit_val_batches=1, accelerator="cpu", enable_progress_bar=False
        ),
        inference=InferenceSettings(mirror=True),
        executor=ExecutorSettings(workers=0),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segfw.core.planning.fingerprint.TOTAL_SAMPLES", 20_000)
        patch.setattr(curves_log, "draw_curves", lambda rows, path: path.write_bytes(b""))
        pipeline.run(check_settings(given))
        plan_file = root / "plan.yaml"
        plan_file.write_text(tiny_plan(root / "out/Tiny/plans/default.yaml"))
        planned = replace(given, planner=PlannerSettings(plan_file=str(plan_file)))
        pipeline.run(check_settings(replace(planned, stages=["preprocess", "train"])))
        yield check_settings(replace(planned, stages="select"))


def tiny_plan(path: Path) -> str:
    plan = plan_from_yaml(read_artefact(path), path.name)
    small = {
        "features_per_stage": (3, 4),
        "n_conv_per_stage": (1, 1),
        "n_conv_per_stage_decoder": (1,),
        "batch_size": 2,
    }
    deep = replace(
        plan.configuration("3d_fullres"),
        patch_size=(4, 12, 12), spacing=(2.0, 1.4, 1.3), kernel_sizes=((3, 3, 3),) * 2, strides=((1, 1, 1), (1, 2, 2)),
        **small,
    )  # fmt: skip
    flat = replace(
        plan.configuration("2d"),
        patch_size=(12, 12), spacing=(1.2, 1.0), kernel_sizes=((3, 3),) * 2, strides=((1, 1), (2, 2)),
        **small,
    )  # fmt: skip
    return plan_to_yaml(replace(plan, configurations={"2d": flat, "3d_fullres": deep}))


def run(settings: ExperimentSettings, caplog: pytest.LogCaptureFixture, **changes: Any) -> tuple[Job, str]:
    """Run the stage; return the job and what it said."""
    caplog.clear()
    with caplog.at_level(logging.INFO):
        pipeline.run(replace(settings, **changes))
    return prepare(settings), "\n".join(caplog.messages)


@pytest.fixture
def ensemble_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the ensemble win, whatever these barely trained networks reached."""

    def let_win(candidates: list[Candidate]) -> Selection:
        return replace(selection.select(candidates), winner=PAIR)

    monkeypatch.setattr("segfw.stages.selection.competition.select", let_win)


def fold_folder(job: Job, configuration: str, fold: int) -> Path:
    return job.workspace.run("main", "default", "planned", configuration, fold)


def anew(job: Job) -> None:
    job.workspace.selection("main").unlink(missing_ok=True)


def test_every_configuration_and_pair_competes_and_a_second_call_does_nothing(
    settings: ExperimentSettings, caplog: pytest.LogCaptureFixture
) -> None:
    job, said = run(settings, caplog)
    record = select.load_selection(job.workspace, "main")
    assert record is not None
    assert [score.name for score in record.scores] == [*PAIR.split(" + "), PAIR]
    assert [score.members for score in record.scores][2] == tuple(PAIR.split(" + "))
    assert (record.same_cases, record.num_common, record.not_formed) == (True, 4, {})
    assert all(score.num_cases == 4 and score.folds == (0, 1) for score in record.scores)
    assert record.best.selection_score == max(score.selection_score for score in record.scores)
    assert [score.winner_ahead_by is None for score in record.scores].count(True) == 1
    assert [left.fold for left in record.cross_fitted.left_out] == [0, 1]
    assert record.cross_fitted.dice is not None
    assert "selection score" in said
    assert "are made again" not in said
    assert select.best_score(job) == record.selection_score
    before = {path: path.stat().st_mtime_ns for path in job.workspace.root.rglob("*") if "logs" not in path.parts}
    _, said = run(settings, caplog)
    assert said.count("nothing to do") == 1
    after = {path: path.stat().st_mtime_ns for path in job.workspace.root.rglob("*") if "logs" not in path.parts}
    assert {path: time for path, time in after.items() if path.is_file() and ".locks" not in path.parts} == {
        path: time for path, time in before.items() if path.is_file() and ".locks" not in path.parts
    }


def test_the_packaged_ensemble_predicts_what_its_cross_validation_promises(
    settings: ExperimentSettings, caplog: pytest.LogCaptureFixture, ensemble_wins: None
) -> None:
    anew(prepare(settings))
    job, _ = run(settings, caplog)
    bundle = load_bundle(job.workspace.model("main"))
    members = [(member.configuration, member.fold) for member in bundle.members]
    assert members == [("2d", 0), ("2d", 1), ("3d_fullres", 0), ("3d_fullres", 1)]
    assert bundle.last_stages == ("2d", "3d_fullres")
    assert bundle.mirror_axes == (0, 1, 2)
    record = select.load_selection(job.workspace, "main")
    assert record is not None
    assert bundle.provenance.scores["dice"] == record.best.dice
    for fold, split in enumerate(job.splits):
        part = load_bundle(job.workspace.model("main"), [fold])
        predictor = CasePredictor(part, "cpu", replace(part.inference, postprocessing=False))
        whole = CasePredictor(part, "cpu")
        for name in split.val:
            image = read_image(job.dataset.case(name).images)
            made = predictor.predict(image).segmentation
            folder = job.workspace.selection("main").with_suffix("")
            (kept,) = folder.glob(f"*2d+*3d_fullres/segmentations/fold_{fold}/{name}.npz")
            np.testing.assert_array_equal(made, np.load(kept)["segmentation"])
            after = apply_steps(made, record.steps, image.spacing)
            np.testing.assert_array_equal(whole.predict(image).segmentation, after)
    assert bundle.postprocessing == record.steps


def test_missing_logits_are_named_and_made_again(
    settings: ExperimentSettings, caplog: pytest.LogCaptureFixture
) -> None:
    job = prepare(settings)
    name = job.splits[1].val[0]
    path = fold_folder(job, "3d_fullres", 1) / "validation" / "logits" / f"{name}.npz"
    before = load_logits(path)
    for lost in (path, job.workspace.selection("main"), *job.workspace.selection("main").parent.rglob("*.*")):
        lost.unlink(missing_ok=True)
    _, said = run(settings, caplog)
    assert f"default/planned/3d_fullres fold 1 lacks the logits of 1 case, which are made again: {name}" in said
    np.testing.assert_allclose(load_logits(path), before, rtol=2e-3, atol=2e-3)  # rounding of float16


def test_logits_that_shall_not_be_kept_are_removed_once_the_ensemble_is_scored(
    settings: ExperimentSettings, caplog: pytest.LogCaptureFixture
) -> None:
    job = prepare(settings)
    path = fold_folder(job, "2d", 0) / "validation" / "logits" / f"{job.splits[0].val[0]}.npz"
    for lost in (path, job.workspace.selection("main"), *job.workspace.selection("main").parent.rglob("*.*")):
        lost.unlink(missing_ok=True)
    _, said = run(settings, caplog, selection=SelectionSettings(keep_logits=False))
    assert "default/planned/2d fold 0 lacks the logits" in said
    assert not path.exists()
    assert PAIR in {score.name for score in select.load_selection(job.workspace, "main").scores}  # type: ignore[union-attr]


def test_an_ensemble_that_cannot_be_scored_is_told_and_tried_again(
    settings: ExperimentSettings, caplog: pytest.LogCaptureFixture
) -> None:
    job = prepare(settings)
    store = Path(select.finished_folds(job.workspace, "main")[0].run.store)
    away = store.rename(store.with_name("away"))
    lost = [*job.workspace.selection("main").parent.rglob("*.*"), *job.workspace.root.glob("runs/**/logits/*")]
    for path in lost:
        path.unlink()
    try:
        _, said = run(settings, caplog)
        record = select.load_selection(job.workspace, "main")
        assert record is not None
        assert record.try_again == (PAIR,)
        assert "has no manifest.json" in record.not_formed[PAIR]
        assert f"without the ensemble {PAIR}" in said
    finally:
        away.rename(store)
    run(settings, caplog)
    record = select.load_selection(job.workspace, "main")
    assert record is not None
    assert (record.try_again, record.not_formed, len(record.scores)) == ((), {}, 3)


def test_no_ensembles_and_those_of_a_list(settings: ExperimentSettings, caplog: pytest.LogCaptureFixture) -> None:
    job, _ = run(settings, caplog, selection=SelectionSettings(ensembles="none"))
    record = select.load_selection(job.workspace, "main")
    assert record is not None
    assert [score.name for score in record.scores] == PAIR.split(" + ")
    listed = SelectionSettings(ensembles=(("2d", "3d_fullres"), ("2d", "3d_lowres")))
    run(settings, caplog, selection=listed)
    record = select.load_selection(job.workspace, "main")
    assert record is not None
    assert [score.name for score in record.scores] == [*PAIR.split(" + "), PAIR]
    assert record.not_formed == {"default/planned/2d + 3d_lowres": "no fold of 3d_lowres is finished and validated"}


def test_whether_the_model_postprocesses_can_be_changed_afterwards(
    settings: ExperimentSettings, caplog: pytest.LogCaptureFixture
) -> None:
    for wanted in (True, False, True):
        inference = replace(settings.inference, postprocessing=wanted)
        job, _ = run(settings, caplog, inference=inference)
        assert load_bundle(job.workspace.model("main")).inference.postprocessing is wanted


def test_which_folds_predict_can_be_changed_afterwards(
    settings: ExperimentSettings, caplog: pytest.LogCaptureFixture
) -> None:
    for wanted, there in ((None, {0, 1}), ((1,), {1}), (None, {0, 1})):
        job, _ = run(settings, caplog, inference=replace(settings.inference, folds=wanted))
        assert {member.fold for member in load_bundle(job.workspace.model("main")).members} == there
    with pytest.raises(UsageError, match=r"inference\.folds: the model has no fold full; its folds are .*: 0, 1"):
        run(settings, caplog, inference=replace(settings.inference, folds=("full",)))


def test_what_is_missing_is_said(settings: ExperimentSettings, caplog: pytest.LogCaptureFixture) -> None:
    job = prepare(settings)
    done = fold_folder(job, "3d_fullres", 1) / "done.yaml"
    moved = done.rename(done.with_suffix(".bak"))
    try:
        anew(job)
        _, said = run(settings, caplog)
        record = select.load_selection(job.workspace, "main")
        assert record is not None
        assert (record.same_cases, record.num_common) == (False, 2)
        assert [score.folds for score in record.scores] == [(0, 1), (0,), (0,)]
        assert record.cross_fitted.dice is None
        assert record.cross_fitted.reason.startswith("it takes two folds at least, and fold 0 alone is finished for")
        assert "default/planned/3d_fullres has no finished fold 1" in said
        assert "scored on different cases (folds are missing); 2 cases, which all have, decided" in said
        assert said.count("(no interval: fewer than 6 cases or groups)") == 2  # behind the winner
        assert record.intervals == "none, there are fewer than 6 cases or groups"
    finally:
        moved.rename(done)


def test_a_configuration_that_was_asked_for_and_has_no_fold_is_named(
    settings: ExperimentSettings, caplog: pytest.LogCaptureFixture
) -> None:
    job = prepare(settings)
    folder = fold_folder(job, "3d_fullres", 0).parent
    moved = folder.rename(job.workspace.root / "away")
    try:
        for asked, expected in (("auto", True), (("2d", "3d_fullres"), True), (("2d",), False)):
            _, said = run(settings, caplog, configurations=asked)
            assert ("select: default/planned/3d_fullres has no finished fold\n" in said) is expected
            assert "default/planned/2d has no" not in said
        gone = replace(settings.planner, plan_file=str(job.workspace.root / "gone.yaml"))
        select.run(replace(job, settings=replace(settings, planner=gone)))  # as ever without a plan
    finally:
        moved.rename(folder)


def test_an_inner_split_is_of_the_folds_it_divides() -> None:
    splits = (Fold(("b", "c", "d"), ("a",)), Fold(("a", "b"), ("c", "d")))
    run = FoldRun(make_plan(), "3d_fullres", 0, ("b", "c", "d"), ("a",), "store")
    inner = replace(run, train_cases=("b", "d"), val_cases=("c",), inner_share=0.3)
    assert select._is_of(splits, run)
    assert select._is_of(splits, inner)
    assert not select._is_of(splits, replace(inner, inner_share=None))
    assert not select._is_of(splits, replace(run, inner_share=0.3))
    assert not select._is_of(splits, replace(inner, fold=1))
    assert not select._is_of(splits, replace(run, fold=2))
