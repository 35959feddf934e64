"""Logits are made again by a network that the command names, never by code that only a run's folder names."""

from types import SimpleNamespace

import pytest

from segfw.core.errors import ArtefactError
from segfw.core.settings.schema import NetworkSettings
from segfw.core.settings.training import TrainerSettings
from segfw.stages.selection import missing_logits
from segfw.stages.selection.missing_logits import MissingLogits


@pytest.fixture
def made(monkeypatch):
    """Take note of the cases whose logits would be made."""
    cases = []
    monkeypatch.setattr(missing_logits, "missing_logits", lambda run, folder, weights, wanted: list(wanted))
    monkeypatch.setattr(
        missing_logits, "make_logits", lambda run, folder, weights, wanted, device: cases.extend(wanted)
    )
    return cases


def fold(tmp_path, target):
    run = SimpleNamespace(network=NetworkSettings("mine", target), fold=0)
    return SimpleNamespace(run=run, folder=tmp_path, done=SimpleNamespace(weights="hash"), candidate="default/mine/2d")


def test_code_that_the_command_does_not_name_is_not_run(tmp_path, made):
    for own in (None, "other.Net"):
        with pytest.raises(ArtefactError, match=r"its network is planted\.Net, code that this command does not name"):
            MissingLogits(TrainerSettings(accelerator="cpu"), own).complete(fold(tmp_path, "planted.Net"), ["a"])
    assert made == []


@pytest.mark.parametrize("target", [None, "my.Net"])
def test_networks_of_the_package_and_the_command_are_run(tmp_path, made, target):
    MissingLogits(TrainerSettings(accelerator="cpu"), target).complete(fold(tmp_path, target), ["a"])
    assert made == ["a"]
