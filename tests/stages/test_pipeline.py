"""The order of a command: which stages run, and when it is said what the plan takes."""

from contextlib import nullcontext

import pytest

from segfw.core.errors import UsageError
from segfw.core.settings.checks import check_settings
from segfw.core.settings.schema import ExperimentSettings, PlanOverrides, TaskSettings
from segfw.core.settings.training import TrainerSettings
from segfw.stages import pipeline
from tests.stages.golden import make_job

SHOWN = pipeline.SHOW_PLAN
SHARED = "3d_fullres has batches of 2, which cannot be shared by 3 devices"


@pytest.mark.parametrize(
    ("stages", "overrides", "called"),
    [
        (["train"], {}, ["train"]),
        (["train"], {"patch_size": (24, 24, 24)}, [SHOWN, "train"]),
        (["train"], {"refit": ("batch_size",)}, [SHOWN, "train"]),
        (["preprocess", "train"], {"batch_size": 3}, [SHOWN, "preprocess", "train"]),
        (["preprocess"], {}, [SHOWN, "preprocess"]),
        (["plan", "preprocess", "train"], {"batch_size": 3}, ["plan", "preprocess", "train"]),  # which shows it itself
        (["select"], {"batch_size": 3}, ["select"]),
    ],
)
def test_what_the_plan_takes_is_said_once_where_it_matters(tmp_path, monkeypatch, stages, overrides, called):
    settings = check_settings(
        ExperimentSettings(
            task=TaskSettings(name="Mine"),
            output_root=str(tmp_path),
            stages=stages,
            plan=PlanOverrides(**overrides),
        )
    )
    stage_of = {place: stage for stage, place in pipeline.RUN.items()}
    places = []
    monkeypatch.setattr(pipeline, "prepare", lambda *_: make_job(tmp_path, settings))
    monkeypatch.setattr(pipeline, "tell_end", lambda *_: None)
    monkeypatch.setattr(pipeline, "_function", lambda place: lambda *_: places.append(stage_of.get(place, place)))
    pipeline.run(settings)
    assert [place for place in places if place in {*pipeline.RUN, SHOWN}] == called


@pytest.mark.parametrize(
    ("stages", "refusal"),
    [(["preprocess"], nullcontext()), (["preprocess", "train"], pytest.raises(UsageError, match=SHARED))],
)
def test_batches_that_devices_cannot_share_are_refused_before_preprocessing(tmp_path, monkeypatch, stages, refusal):
    settings = check_settings(
        ExperimentSettings(
            task=TaskSettings(name="Mine"),
            output_root=str(tmp_path),
            stages=stages,
            configurations=["3d_fullres"],
            folds=[0],
            plan=PlanOverrides(batch_size=2),
            trainer=TrainerSettings(accelerator="cpu", devices=3),
        )
    )
    begun, function = [], pipeline._function
    replaced = {SHOWN: lambda _: None, pipeline.RUN["preprocess"]: begun.append}
    monkeypatch.setattr(pipeline, "prepare", lambda *_: make_job(tmp_path, settings))
    monkeypatch.setattr(pipeline, "tell_end", lambda *_: None)
    monkeypatch.setattr(pipeline, "_function", lambda place: replaced.get(place) or function(place))
    with refusal:
        pipeline.run(settings)
    assert len(begun) == ("train" not in stages)
