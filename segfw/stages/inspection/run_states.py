"""How a training stands, judged from what its folder and its lock say: pure functions on values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from segfw.core.support.locks import Owner
from segfw.core.support.words import counted, in_words
from segfw.stages.trainings.failures import Failure
from segfw.stages.trainings.runs import Done
from segfw.training.signs import Progress

Kind = Literal["done", "running", "to go on", "interrupted", "failed", "other settings", "stale", "damaged", "waiting"]
WORST_FIRST: tuple[Kind, ...] = (
    "damaged",
    "failed",
    "stale",
    "other settings",
    "interrupted",
    "running",
    "waiting",
    "to go on",
    "done",
)
OTHER: Kind = "other settings"
"""State of a run that is kept as it is: the command asks for another training under its name."""
SHOWN = 3
"""Keys of it that are named in a table."""
CLOCKS_DIFFER = 5.0
"""Seconds by which the clocks of two computers that share a file system may differ."""


@dataclass(frozen=True)
class RunSigns:
    """What a run's folder and lock say.

    `begun`: there is a config.yaml; `saved`: when the last checkpoint was written (seconds since the epoch); `damaged`:
    what cannot be read or is missing, with the file; `changed`: data it was made from that are otherwise now;
    `settings`: keys in which the command differs from it; `lacking`: what the command asks for beyond what is done.
    `noted`: what is missing that nothing else rests on.
    """

    begun: bool = False
    saved: float | None = None
    done: Done | None = None
    owner: Owner | None = None
    progress: Progress | None = None
    failure: Failure | None = None
    damaged: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    lacking: str = ""
    noted: str = ""


@dataclass(frozen=True)
class RunState:
    """How a run stands, in a word and in a line that says why."""

    kind: Kind
    text: str


def judge_run(signs: RunSigns, now: float) -> RunState:
    """Judge a run at `now`, seconds since the epoch: who runs it counts first, then what is at fault."""
    if signs.owner is not None and signs.owner.alive:
        return RunState("running", f"{_progress_of(signs)}; {describe_owner(signs.owner, now)}")
    if signs.damaged:
        return RunState("damaged", "; ".join(signs.damaged))
    if signs.changed:
        done = f"{_result(signs)}; " if signs.done else ""
        return RunState("stale", f"{done}changed since: {', '.join(signs.changed)}")
    if signs.settings:
        there = judge_run(replace(signs, settings=(), lacking=""), now)
        return RunState(OTHER, f"{there.kind}: {there.text}; made with other {few(signs.settings)}")
    if signs.done is not None:
        if signs.lacking:
            return RunState("to go on", f"{_result(signs)}; {signs.lacking}")
        return RunState("done", _result(signs))
    if signs.failure is not None:
        failure = signs.failure
        return RunState("failed", f"{failure.when.replace('T', ' ')}: {failure.reason}; log: {failure.log}")
    if signs.begun:
        return RunState("interrupted", _interruption(signs))
    return RunState("waiting", "not begun")


def describe_owner(owner: Owner, now: float) -> str:
    """Say who writes an artefact, since when, and how long ago there was a sign of life."""
    since = "" if owner.since is None else f" since {at(owner.since)}"
    return f"process {owner.pid} on {owner.host}{since}, last sign {in_words(max(0.0, now - owner.seen))} ago"


def at(seconds: float) -> str:
    """Write a moment, in seconds since the epoch, as local time."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def worst_kind(states: Sequence[RunState]) -> Kind:
    """Return the state of several runs in one word: the first of `WORST_FIRST` that one of them is in."""
    kinds = {state.kind for state in states}
    return next((kind for kind in WORST_FIRST if kind in kinds), "waiting")


def count_kinds(states: Sequence[RunState]) -> str:
    """Say how many of the runs stand how: '2 of 5 done, 1 running, 2 waiting'."""
    kinds = [state.kind for state in states]
    others = [
        f"{kinds.count(kind)} {'with ' if kind == OTHER else ''}{kind}"
        for kind in dict.fromkeys(kinds)
        if kind != "done"
    ]
    asked = " as asked" if OTHER in kinds else ""
    return ", ".join([f"{kinds.count('done')} of {len(kinds)} done{asked}", *others])


def few(keys: Sequence[str]) -> str:
    """List keys; of many the first few."""
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return f"{', '.join(keys[:SHOWN])}{more}"


def _result(signs: RunSigns) -> str:
    done = signs.done
    if done is None:
        return ""
    dice = "" if done.dice is None else f"Dice {done.dice:.4f}, "
    noted = f"; {signs.noted}" if signs.noted else ""
    return f"{dice}{counted(done.epochs, 'epoch')}, trained for {in_words(done.training_seconds)}{noted}"


def _progress_of(signs: RunSigns) -> str:
    """Say how far a running training is; signs of an earlier command are none of this one's."""
    progress, owner = signs.progress, signs.owner
    begun = owner.since if owner is not None and owner.since is not None else 0.0
    if progress is None or progress.updated < begun - CLOCKS_DIFFER:
        return "begins"
    left = "" if progress.seconds_left is None else f", {in_words(progress.seconds_left)} left"
    if progress.cases is not None:
        return f"validates whole cases, {progress.cases_done}/{progress.cases} done{left}"
    return f"{_epoch(progress)}{left}{' of training' if left else ''}"


def _interruption(signs: RunSigns) -> str:
    parts = [] if signs.progress is None else [f"in {_epoch(signs.progress)}"]
    parts += ["nothing was saved yet" if signs.saved is None else f"last saved {at(signs.saved)}"]
    if signs.owner is not None:
        parts += [f"process {signs.owner.pid} on {signs.owner.host} is gone without a word"]
    return "; ".join(parts)


def _epoch(progress: Progress) -> str:
    number = math.floor(progress.epochs_done + 1e-9) + 1
    number = number if progress.epochs is None else min(number, progress.epochs)
    return f"epoch {number}" + ("" if progress.epochs is None else f"/{progress.epochs}")
