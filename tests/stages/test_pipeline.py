"""The order of a command: which stages run, and when it is said what the plan takes."""

import pytest

from segfw.core.settings.checks import check_settings
from segfw.core.settings.schema import ExperimentSettings, PlanOverrides, TaskSettings
from segfw.stages import pipeline
from tests.stages.golden import make_job

SHOWN = pipeline.SHOW_PLAN


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
