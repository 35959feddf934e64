"""How a training stands, from what its folder says: every state, and which of several counts."""

from dataclasses import replace
from typing import Any

import pytest

from segfw.core.support.locks import Owner
from segfw.stages.inspection.run_states import RunSigns, count_kinds, describe_owner, judge_run
from segfw.stages.trainings.failures import Failure
from segfw.stages.trainings.runs import Done
from segfw.training.signs import Progress

NOW = 10_000.0
ALIVE = Owner("node7", "123", since=NOW - 600, seen=NOW - 4, alive=True)
DEAD = replace(ALIVE, alive=False)
DONE = Done(50, 7200, "w", "i", 0.8, 0.88125, {}, training_seconds=3600.0)
HALFWAY = Progress(12.4, 50, seconds_left=1800.0, updated=NOW - 8)
FAILED = Failure("2026-11-30T06:12:00+00:00", "the loss is nan", "/out/segfw.log")


@pytest.mark.parametrize(
    ("signs", "kind", "words"),
    [
        ({}, "waiting", "not begun"),
        ({"done": DONE}, "done", "Dice 0.8812, 50 epochs, trained for 60 min"),
        ({"done": replace(DONE, dice=None)}, "done", "50 epochs, trained for 60 min"),
        ({"done": DONE, "lacking": "99 epochs are asked for"}, "to go on", "60 min; 99 epochs are asked for"),
        ({"done": DONE, "changed": ("dataset",)}, "stale", "60 min; changed since: dataset"),
        (
            {"done": DONE, "settings": ("seed", "plan.batch_size (2d)"), "lacking": "99 epochs are asked for"},
            "other settings",
            "done: Dice 0.8812, 50 epochs, trained for 60 min; made with other seed, plan.batch_size (2d)",
        ),
        (
            {"progress": HALFWAY, "saved": 0.0, "settings": ("a", "b", "c", "d", "e")},
            "other settings",
            "; made with other a, b, c and 2 more",
        ),
        ({"progress": HALFWAY, "settings": ("a",)}, "other settings", "interrupted: in epoch 13/50; nothing was saved"),
        ({"done": DONE, "changed": ("dataset",), "settings": ("a",)}, "stale", "changed since: dataset"),
        (
            {"owner": ALIVE, "progress": HALFWAY},
            "running",
            "epoch 13/50, 30 min left of training; process 123 on node7",
        ),
        ({"owner": ALIVE}, "running", "begins; process 123 on node7"),
        ({"owner": ALIVE, "progress": replace(HALFWAY, epochs=None, seconds_left=None)}, "running", "epoch 13; "),
        ({"owner": ALIVE, "progress": replace(HALFWAY, epochs_done=13.0)}, "running", "epoch 14/50"),
        ({"owner": ALIVE, "progress": replace(HALFWAY, epochs_done=50.0)}, "running", "epoch 50/50"),
        (
            {"owner": ALIVE, "progress": replace(HALFWAY, cases_done=3, cases=20, seconds_left=240.0)},
            "running",
            "validates whole cases, 3/20 done, 4 min left; ",
        ),
        ({"progress": HALFWAY, "saved": 0.0}, "interrupted", "in epoch 13/50; last saved 19"),
        ({"owner": DEAD}, "interrupted", "nothing was saved yet; process 123 on node7 is gone without a word"),
        ({"failure": FAILED}, "failed", "2026-11-30 06:12:00+00:00: the loss is nan; log: /out/segfw.log"),
        ({"damaged": ("done.yaml: unknown key",)}, "damaged", "done.yaml: unknown key"),
    ],
)
def test_every_state(signs: dict[str, Any], kind: str, words: str) -> None:
    state = judge_run(RunSigns(**{"begun": bool(signs), **signs}), NOW)
    assert (state.kind, words in state.text) == (kind, True), state


def test_who_runs_it_counts_before_what_an_earlier_command_left() -> None:
    left = RunSigns(begun=True, done=DONE, failure=FAILED, damaged=("done.yaml: damaged",), changed=("dataset",))
    assert judge_run(replace(left, owner=ALIVE), NOW).kind == "running"
    assert judge_run(replace(left, owner=DEAD), NOW).kind == "damaged"
    assert judge_run(replace(left, damaged=()), NOW).kind == "stale"
    assert judge_run(replace(left, damaged=(), changed=()), NOW).kind == "done"


def test_progress_of_the_command_before_is_not_this_ones() -> None:
    old = replace(HALFWAY, updated=NOW - 700)
    assert judge_run(RunSigns(begun=True, owner=ALIVE, progress=old), NOW).text.startswith("begins; ")


def test_an_owner_is_described_with_its_last_sign() -> None:
    assert describe_owner(ALIVE, NOW).endswith(", last sign 4 s ago")
    ahead = replace(ALIVE, since=None, seen=NOW + 3)  # the clock of a file server
    assert describe_owner(ahead, NOW) == "process 123 on node7, last sign 0 s ago"


def test_states_are_counted() -> None:
    states = [judge_run(RunSigns(done=DONE), NOW)] * 2 + [judge_run(RunSigns(), NOW)] * 3
    assert count_kinds(states) == "2 of 5 done, 3 waiting"
    other = judge_run(RunSigns(done=DONE, settings=("seed",)), NOW)
    assert count_kinds([*states[:3], other]) == "2 of 4 done as asked, 1 waiting, 1 with other settings"
