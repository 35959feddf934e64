"""The study on disk: that it goes on after anything, and draws what it would have drawn."""

import json
import sys

import pytest

from segfw.core.errors import UsageError
from segfw.sweeps import study as studies
from segfw.sweeps.space import Choice, Interval

DIMENSIONS = {
    "lr": Interval(1e-3, 1e-1, log=True),
    "n": Interval(2, 8, step=2, integer=True),
    "net": Choice(("a", "b")),
}
SETTINGS = {"folds": [0], "trainer.max_epochs": 2, "plan.batch_size": None}


def opened(folder, name="main", dimensions=DIMENSIONS, settings=SETTINGS, direction="maximize", seed=0):
    return studies.open_study(folder / "s.journal", name, dimensions, direction, seed, settings)


def scored(study, number):
    """Draw and finish `number` trials; a score is lowest where the rate is."""
    for _ in range(number):
        trial = study.draw()
        study.finish(trial, trial.values["lr"])
    return [trial.values for trial in study.trials]


def test_values_lie_in_their_ranges_and_are_plain(tmp_path):
    for values in scored(opened(tmp_path), 15):
        assert 1e-3 <= values["lr"] <= 1e-1
        assert values["n"] in (2, 4, 6, 8)
        assert isinstance(values["n"], int)
        assert values["net"] in ("a", "b")


def test_an_interrupted_study_draws_what_it_would_have_drawn(tmp_path):
    whole = scored(opened(tmp_path / "a"), 14)
    scored(opened(tmp_path / "b"), 6)
    scored(opened(tmp_path / "b"), 5)
    assert scored(opened(tmp_path / "b"), 3) == whole


def test_names_and_seeds_draw_other_values(tmp_path):
    drawn = [scored(opened(tmp_path, name, seed=seed), 1)[0]["lr"] for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    assert len(set(drawn)) == 3


def test_an_interrupted_trial_is_taken_up_with_its_values(tmp_path):
    first = opened(tmp_path).draw()
    again = opened(tmp_path)
    assert again.take_up() == [first]
    again.finish(first, 0.5)
    (kept,) = opened(tmp_path).trials
    assert (kept.number, kept.values, kept.state, kept.score) == (0, first.values, "finished", 0.5)


def test_a_trial_interrupted_while_it_was_drawn_is_given_up(tmp_path):
    study = opened(tmp_path)
    study.optuna.ask({})
    assert study.take_up() == []
    assert [(trial.state, trial.reason) for trial in study.trials] == [
        ("failed", "interrupted before its values were drawn")
    ]


def test_failures_keep_their_reasons(tmp_path):
    study = opened(tmp_path)
    study.fail(study.draw(), "out of memory")
    scored(study, 1)
    assert [(t.state, t.reason) for t in opened(tmp_path).trials] == [("failed", "out of memory"), ("finished", "")]


@pytest.mark.parametrize(("direction", "number"), [("maximize", 1), ("minimize", 0)])
def test_the_best_is_by_direction_and_the_first_of_equals(tmp_path, direction, number):
    study = opened(tmp_path, direction=direction)
    assert study.best is None
    for score in (0.2, 0.7, 0.7, 0.2):
        study.finish(study.draw(), score)
    assert study.best.number == number


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {**SETTINGS, "trainer.max_epochs": 3}}, "trainer.max_epochs: 2 there, 3 now"),
        ({"settings": {**SETTINGS, "folds": [1]}}, r"folds: \[0\] there, \[1\] now"),
        ({"direction": "minimize"}, "hydra.sweeper.direction: maximize there, minimize now"),
        (
            {"dimensions": {**DIMENSIONS, "lr": Interval(1e-3, 1.0, log=True)}},
            r"range of lr: interval\(0.001,0.1\) log there, interval\(0.001,1\) log now",
        ),
        ({"dimensions": {"lr": DIMENSIONS["lr"]}}, r"range of net: choice\(a,b\) there, None now"),
    ],
)
def test_scores_of_other_settings_are_not_mixed(tmp_path, changes, message):
    opened(tmp_path)
    with pytest.raises(UsageError, match=message):
        opened(tmp_path, **changes)
    scored(opened(tmp_path, name="another", **changes), 1)


def test_a_torn_last_line_is_dropped(tmp_path):
    before = scored(opened(tmp_path), 2)
    with (tmp_path / "s.journal").open("a") as file:
        file.write('{"op_code":4,"worker_id":"x')
    assert scored(opened(tmp_path), 1)[:2] == before
    for line in (tmp_path / "s.journal").read_text().splitlines():
        json.loads(line)


def test_without_optuna_the_line_that_installs_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r'pip install "segfw\[sweep\]"'):
        studies.require_optuna()
