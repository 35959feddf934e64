"""Whatever is given on the command line is accepted, or refused by status 2 and a message that names the key.

`python -m scripts.fuzz settings` draws from the same strategies at length.
"""

import re

import pytest
from hypothesis import given, settings

from tests.faults.hostile_settings import SETTINGS, answer, judge_settings


@pytest.mark.parametrize(("kind", "examples"), [("values", 60), ("commands", 4), ("words", 4)])
def test_any_setting_is_accepted_or_refused(kind, examples):
    @settings(max_examples=examples)
    @given(SETTINGS[kind])
    def each(example):
        outcome, said = judge_settings(kind, example)
        assert outcome in ("read", "refused"), said

    each()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("seed=" + "9" * 400, "seed must be an integer of at most 2"),
        ("hydra.sweeper.params.x=1", "cannot compose .*hydra.sweeper.params.x=1"),
        ("seed=range(0,1,0)", "cannot compose .*seed=range"),
        ("stages=[null]", "stages: unknown stage 'None'"),
    ],
)
def test_what_once_ended_in_a_traceback_is_explained(word, message):
    found = answer(["experiment", "task.name=Mine", word])
    assert found.status == 2
    assert re.search(message, found.said)
