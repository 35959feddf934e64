"""A cascade through the program: trained in order, fed out of fold, packaged whole, refused when a stage is missing."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from segfw.__main__ import main
from segfw.core.errors import ArtefactError, UsageError
from segfw.core.planning.plan_yaml import plan_from_yaml, plan_to_yaml
from segfw.core.scoring.selection import Candidate, Selection, select
from segfw.core.settings.schema import ExperimentSettings
from segfw.inference.bundle import load_bundle
from segfw.stages import pipeline
from segfw.stages.job import Job, prepare
from segfw.stages.selection.select import finished_folds
from segfw.stages.trainings.cascade import require_previous, with_first_stages
from segfw.stages.trainings.runs import load_run, make_run
from segfw.training.callbacks import curves_log
from segfw.training.run import PreviousRuns
from segfw.workspace import read_artefact

pytestmark = pytest.mark.slow

CASCADE = "3d_cascade_fullres"
TINY = (
    "+task=Demo",
    "experiment=published",
    "split.num_folds=2",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=1",
    "trainer.limit_val_batches=1",
    "trainer.accelerator=cpu",
    "inference.mirror=false",
    "executor.workers=0",
)
BOTH = [("3d_lowres", 0), ("3d_lowres", 1), (CASCADE, 0), (CASCADE, 1)]
Said = Callable[[], str]


@pytest.fixture(scope="module", autouse=True)
def cheap() -> None:
    """Leave out what costs more than these trainings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segfw.core.planning.fingerprint.TOTAL_SAMPLES", 20_000)
        patch.setattr(curves_log, "draw_curves", lambda rows, path: path.write_bytes(b""))
        yield


@pytest.fixture(scope="module")
def arguments(cheap: None, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Train both stages of a cascade on both folds in one command, by a plan edited for it."""
    root = tmp_path_factory.mktemp("cascade")
    given = [*TINY, f"data_root={root / 'data'}", f"output_root={root / 'out'}"]
    assert main([*given, "configurations=[3d_fullres]", "stages=[fingerprint,plan]"]) == 0
    plan = plan_from_yaml(read_artefact(root / "out/Demo/plans/default.yaml"), "default.yaml")
    small = replace(
        plan.configuration("3d_fullres"), patch_size=(16, 16, 16), features_per_stage=(4, 8, 8), batch_size=2,
        kernel_sizes=((3, 3, 3),) * 3, strides=((1, 1, 1), (2, 2, 2), (2, 2, 2)), n_conv_per_stage=(1, 1, 1),
        n_conv_per_stage_decoder=(1, 1),
    )  # fmt: skip
    lowres = replace(small, spacing=tuple(3 * s for s in small.spacing), next_stage=CASCADE)
    stages = {CASCADE: replace(small, previous_stage="3d_lowres"), "3d_lowres": lowres}
    plan_file = root / "plan.yaml"
    plan_file.write_text(plan_to_yaml(replace(plan, configurations=stages)))
    given += [f"planner.plan_file={plan_file}"]
    assert main([*given, "configurations=auto", "folds=cv", "stages=[preprocess,train]"]) == 0
    return given


@pytest.fixture
def job(arguments: list[str]) -> Job:
    """The job as the stages see it, with the program's own settings."""
    jobs: list[Job] = []

    def keep(settings: ExperimentSettings) -> None:
        jobs.append(prepare(settings))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "run", keep)
        assert main(arguments) == 0
    return jobs[0]


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> Said:
    def read() -> str:
        out, err = capfd.readouterr()
        return " ".join((out + err).split())

    return read


def run_of(job: Job, configuration: str, fold: int | str) -> Path:
    return job.workspace.run("main", "default", "planned", configuration, fold)


def fed_by(job: Job, fold: int | str = 0) -> PreviousRuns:
    return require_previous(job, make_run(job, CASCADE, fold))


def test_the_first_stage_is_trained_before_the_second_in_whatever_order_the_plan_has_them(job: Job) -> None:
    ends = [(run_of(job, c, fold) / "done.yaml").stat().st_mtime_ns for c, fold in BOTH]
    assert job.configurations == ("3d_lowres", CASCADE)
    assert ends == sorted(ends)


def test_every_case_is_handed_on_by_the_fold_that_left_it_out(job: Job) -> None:
    for fold, split in enumerate(job.splits):
        folder = run_of(job, "3d_lowres", fold) / "next_stage"
        assert {path.name.split(".")[0] for path in folder.glob("*.npy")} == set(split.val)
        assert load_run(run_of(job, CASCADE, fold)).previous == fed_by(job, fold) == fed_by(job, "full")


def test_a_second_stage_sees_a_channel_per_label(job: Job) -> None:
    labels = len(job.plan.labels.foreground_values)
    assert make_run(job, CASCADE, 0).num_channels == len(job.plan.channel_names) + labels
    assert make_run(job, "3d_lowres", 0).num_channels == len(job.plan.channel_names)


def test_what_is_missing_is_named_and_made_again_without_training(job: Job, arguments: list[str], said: Said) -> None:
    first, second = (run_of(job, "3d_lowres", fold) for fold in (0, 1))

    def state() -> dict[Path, int]:
        kept = [*(first / "next_stage").iterdir(), *(second / "checkpoints").iterdir()]
        kept += [run_of(job, CASCADE, fold) / "done.yaml" for fold in (0, 1)]
        return {path: path.stat().st_mtime_ns for path in kept}

    before = state()
    next((second / "next_stage").glob("*.npy")).unlink()
    with pytest.raises(ArtefactError, match=r"fold_1/next_stage, case 'demo_\d\d': .* is missing; run the train stage"):
        fed_by(job)
    said()
    assert main([*arguments, "stages=train"]) == 0
    assert f"train {CASCADE}: should 3d_lowres segment the cases otherwise now, its folds 0, 1 will have" in said()
    assert state() == before
    fed_by(job)


def test_an_unfinished_fold_is_named(job: Job, arguments: list[str], said: Said) -> None:
    done = run_of(job, "3d_lowres", 1) / "done.yaml"
    moved = done.rename(done.with_suffix(".bak"))
    try:
        with pytest.raises(ArtefactError, match=r"3d_lowres, whose fold 1 is not finished.*figurations=\[3d_lowres\]"):
            fed_by(job)
        said()
        assert main([*arguments, "stages=train", f"configurations=[{CASCADE}]", "folds=0"]) == 2
        assert f"{CASCADE} cannot be trained: it takes the segmentations of 3d_lowres by all its folds, of" in said()
        assert main([*arguments, "stages=train", "folds=0"]) == 0
        assert f"{CASCADE} is left out: it takes the segmentations of 3d_lowres by all its folds, of which 1" in said()
    finally:
        moved.rename(done)


def test_only_a_second_stage_has_a_previous_one(job: Job) -> None:
    with pytest.raises(UsageError, match="configuration 3d_lowres has no previous stage"):
        require_previous(job, make_run(job, "3d_lowres", 0))


def package(arguments: list[str], monkeypatch: pytest.MonkeyPatch, winner: str) -> None:
    """Package a configuration, whatever these barely trained networks reached."""

    def let_win(candidates: list[Candidate]) -> Selection:
        return replace(select(candidates), winner=next(c.name for c in candidates if c.name.endswith(winner)))

    with monkeypatch.context() as patch:
        patch.setattr("segfw.stages.selection.competition.select", let_win)
        assert main([*arguments, "stages=select"]) == 0


def test_the_packaged_cascade_predicts_as_it_was_validated(
    job: Job, arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for path in job.workspace.root.glob("selection/*.yaml"):
        path.unlink()
    package(arguments, monkeypatch, CASCADE)
    bundle = load_bundle(job.workspace.model("main"))
    assert sorted((member.configuration, member.fold) for member in bundle.members) == sorted(BOTH)
    assert bundle.last_stages == (CASCADE,)
    name = job.splits[0].val[0]
    image = job.dataset.case(name).images[0]
    given = [f"model={job.workspace.model('main')}", f"input={image}", f"output={tmp_path}", "accelerator=cpu"]
    assert main(["predict", *given, "inference.folds=0", "inference.postprocessing=false"]) == 0
    (made,) = tmp_path.iterdir()
    validated = run_of(job, CASCADE, 0) / "validation" / f"{name}.nii.gz"
    predicted, expected = (sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (made, validated))
    np.testing.assert_array_equal(predicted, expected)
    for form in ("onnx", "nnunet"):
        target = [f"format={form}", f"output={tmp_path / form}"]
        assert main(["export", f"model={job.workspace.model('main')}", *target]) == 2


def test_a_first_stage_that_wins_is_packaged_alone(
    job: Job, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in job.workspace.root.glob("selection/*.yaml"):
        path.unlink()
    package(arguments, monkeypatch, "3d_lowres")
    bundle = load_bundle(job.workspace.model("main"))
    assert {member.configuration for member in bundle.members} == set(bundle.plan.configurations) == {"3d_lowres"}


def test_both_stages_averaged_predict_as_their_ensemble_was_scored(
    job: Job, arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for path in job.workspace.root.glob("selection/*.yaml"):
        path.unlink()
    package(arguments, monkeypatch, f"3d_lowres + default/planned/{CASCADE}")
    bundle = load_bundle(job.workspace.model("main"))
    assert sorted((member.configuration, member.fold) for member in bundle.members) == sorted(BOTH)
    assert bundle.last_stages == ("3d_lowres", CASCADE)
    name = job.splits[0].val[0]
    image = job.dataset.case(name).images[0]
    given = [f"model={job.workspace.model('main')}", f"input={image}", f"output={tmp_path}", "accelerator=cpu"]
    assert main(["predict", *given, "inference.folds=0", "inference.postprocessing=false"]) == 0
    (made,) = tmp_path.iterdir()
    (kept,) = job.workspace.root.glob(f"selection/main/*+*/segmentations/fold_0/{name}.npz")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(made))), np.load(kept)["segmentation"])


def test_what_the_second_stage_cannot_have_is_refused_before_the_first_is_trained(
    job: Job, arguments: list[str], said: Said
) -> None:
    said()
    assert main([*arguments, "stages=train", "folds=cv", "name=held", "data.cache=device"]) == 2
    found = said()
    assert "data.cache=device is not possible where the segmentations by 3d_lowres are changed" in found
    assert f"({CASCADE}); use data.cache=auto" in found
    assert not job.workspace.runs("held").exists()


def test_a_cascade_of_every_case_is_fed_by_the_folds(job: Job, arguments: list[str]) -> None:
    assert main([*arguments, f"configurations=[{CASCADE}]", "folds=full", "stages=train"]) == 0
    run = load_run(run_of(job, CASCADE, "full"))
    assert set(run.train_cases) == {case.name for case in job.dataset.cases}
    assert run.previous == fed_by(job)
    assert not (run_of(job, CASCADE, "full") / "validation").exists()
    finished = finished_folds(job.workspace, "main")
    whole = [fold for fold in finished if fold.run.fold == "full"]
    members = [(fold.run.configuration_name, fold.run.fold) for fold in with_first_stages(whole, finished)]
    assert members == [(CASCADE, "full"), ("3d_lowres", 0), ("3d_lowres", 1)]


def test_a_cascade_that_was_fed_by_others_is_stale(job: Job, arguments: list[str], said: Said) -> None:
    manifest = run_of(job, "3d_lowres", 1) / "next_stage" / "manifest.json"
    before = manifest.read_text()
    manifest.write_text(json.dumps(json.loads(before)))
    try:
        said()
        assert main([*arguments, "stages=train"]) == 1
        assert "was trained with other segmentations of 3d_lowres than there are now (folds 1 have changed" in said()
        assert main([*arguments, "stages=select"]) == 0
        assert f"{CASCADE}/fold_0 is left out: the segmentations of 3d_lowres by its folds 1" in said()
        assert load_bundle(job.workspace.model("main")).last_stages == ("3d_lowres",)
        assert main([*arguments, "stages=train", f"configurations=[{CASCADE}]", "folds=0", "overwrite=true"]) == 0
        assert load_run(run_of(job, CASCADE, 0)).previous == fed_by(job)
    finally:
        manifest.write_text(before)
