"""What the report draws and tells of which names, and what it does where something is missing."""

import logging
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from segfw.core.errors import ArtefactError, DataError
from segfw.core.settings.schema import ExperimentSettings, NetworkSettings
from segfw.core.support.addresses import mirror_path
from segfw.interop.nnunet import read_plans
from segfw.stages.job import prepare
from segfw.stages.reporting import names, report
from segfw.stages.reporting.example import predict_command
from segfw.stages.reporting.names import named_results
from segfw.stages.reporting.plan import networks_to_draw
from segfw.stages.trainings.runs import Done, FinishedFold
from segfw.tracking.comparison_section import NamedResult
from segfw.training.run import FoldRun
from tests.stages.golden import HIPPOCAMPUS, make_job
from tests.stages.tiny_dataset import make, settings_of

PLAN = read_plans(HIPPOCAMPUS / "plans_default.json")
RUN = FoldRun(PLAN, "2d", 0, ("a",), ("b",), "store")
DONE = Done(1, 1, "hash", "hash", None, None, {})


@pytest.mark.parametrize(("chosen", "built"), [("planned", "unet"), ("residual_unet", "residual_unet")])
def test_before_training_the_networks_of_this_command(tmp_path, chosen, built):
    job = make_job(tmp_path, ExperimentSettings(network=NetworkSettings(chosen)))
    networks = networks_to_draw(job, PLAN, [])
    assert {name: network.architecture for name, network in networks.items()} == {"2d": built, "3d_fullres": built}
    assert networks_to_draw(job, None, []) == {}


def test_after_training_those_that_were_trained_once_each(tmp_path):
    job = make_job(tmp_path, ExperimentSettings())
    folder = Path("runs/main/default/residual_unet/2d")
    residual = replace(RUN, network=NetworkSettings("residual_unet"))
    folds = [FinishedFold(folder / f"fold_{fold}", residual, DONE, None) for fold in (0, 1)]
    networks = networks_to_draw(job, PLAN, folds)
    assert {name: network.architecture for name, network in networks.items()} == {
        "default/residual_unet/2d": "residual_unet"
    }


def test_the_command_for_the_example_can_be_copied():
    command = predict_command(Path("out/my model"), Path("a b.nii.gz"), own_code=True)
    assert shlex.split(command)[3:] == [
        "predict", "model=out/my model", "input=a b.nii.gz", "output=FOLDER", "inference.trust_code=true",
    ]  # fmt: skip


def test_a_command_names_the_address_of_an_image_rather_than_its_place_in_the_cache() -> None:
    source = mirror_path("s3://bucket/a.nii.gz", "/cache")
    assert " input=s3://bucket/a.nii.gz " in predict_command(Path("model"), source, own_code=False)


# --- names ----------------------------------------------------------------------------------------------------------


def test_other_names_are_told_with_finished_folds_and_not_for_debugging(tmp_path, monkeypatch):
    job = make_job(tmp_path, ExperimentSettings(name="main"))
    for name in ("zeta", "main", "begun", "debug_fdr"):
        job.workspace.runs(name).mkdir(parents=True)
    counts = {"main": 2, "zeta": 1, "begun": 0, "debug_fdr": 3}
    monkeypatch.setattr(names, "finished_folds", lambda _, name: [object()] * counts[name])
    assert named_results(job, None, 2) == (NamedResult("main", 2), NamedResult("zeta", 1))
    own = replace(job, settings=ExperimentSettings(name="debug_fdr"))
    assert [result.name for result in named_results(own, None, 3)] == ["debug_fdr", "main", "zeta"]
    counts |= {"zeta": 0}
    assert named_results(job, None, 2) == ()


def test_a_page_without_a_result_names_those_that_have_one(tiny, caplog, monkeypatch):
    monkeypatch.setattr(report, "make_example", lambda *_: None)
    found = (NamedResult("main", 0), NamedResult("tiny", 1), NamedResult("zeta", 5))
    monkeypatch.setattr(report, "named_results", lambda *_: found)
    job = prepare(tiny)
    report.build(job)
    assert "no fold of name=main is finished, so the page has no result; finished are: name=tiny (1 fold), " in (
        caplog.text
    )
    assert "name=zeta (5 folds); give the name" in caplog.text
    caplog.clear()
    monkeypatch.setattr(report, "named_results", lambda *_: ())
    report.build(job)
    assert "is finished" not in caplog.text


# --- what is missing ------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path):
    return settings_of(make(tmp_path / "Tiny"), tmp_path / "out")


def test_the_verb_makes_nothing_of_nothing(tiny, tmp_path):
    with pytest.raises(ArtefactError, match=r"Tiny has neither a fingerprint nor a finished fold.*without the word"):
        report.run(tiny)
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_what_would_be_written_and_writes_nothing(tiny, tmp_path, caplog):
    (tmp_path / "out/Tiny").mkdir(parents=True)
    (tmp_path / "out/Tiny/fingerprint.yaml").write_text("")
    with caplog.at_level(logging.INFO):
        report.run(replace(tiny, dry_run=True))
    root = tmp_path / "out/Tiny"
    assert caplog.messages == [f"report: would write {root}/report/index.html, of no finished fold of main"]
    assert [path.name for path in root.iterdir()] == ["fingerprint.yaml"]


def test_the_page_stays_where_the_example_fails(tiny, caplog, monkeypatch):
    def fail(error):
        def make_example(*_):
            raise error

        monkeypatch.setattr(report, "make_example", make_example)

    job = prepare(tiny)
    fail(DataError("ann.nii.gz cannot be read"))
    with caplog.at_level(logging.WARNING):
        assert report.build(job).wrote
    assert job.workspace.report.is_file()
    assert "report: without an example prediction: ann.nii.gz cannot be read" in caplog.text
    fail(ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        report.build(job)
