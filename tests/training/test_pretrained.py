"""A training begins with other weights once, at its beginning."""

import dataclasses
import logging
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from segfw.core.errors import UsageError
from segfw.core.labels import LabelSet
from segfw.core.settings.schema import NetworkSettings
from segfw.core.settings.training import OptimizerSettings, PretrainedSettings
from segfw.nn.build import build_network
from segfw.training.checkpoints import network_weights
from segfw.training.fit import fit_fold
from segfw.training.pretrained import Pretrained
from segfw.training.run import FoldRun
from segfw.training.validation import FoldIO
from tests.training.conftest import CPU, make_plan

MakeRun = Callable[..., FoldRun]
STILL = OptimizerSettings(lr=1e-30, weight_decay=0.0)


def begin(make_run: MakeRun, folder: Path, io: FoldIO, source: Pretrained, **changes: object) -> Path:
    settings = PretrainedSettings(path="somewhere")
    values = {"max_epochs": 1, "optimizer": STILL, "pretrained": settings, "seed": 3, **changes}
    return fit_fold(make_run(**values), folder, CPU, io, (), source).checkpoint


@pytest.fixture
def source(make_run: MakeRun, fit: Callable[..., object], tmp_path: Path) -> Pretrained:
    run = make_run(max_epochs=1, seed=11)
    fit(run, tmp_path / "source")
    return Pretrained("source", network_weights(tmp_path / "source/checkpoints/last.ckpt"), run.plan.labels)


def test_it_begins_with_the_weights_and_lists_them(
    make_run: MakeRun, io: FoldIO, source: Pretrained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    weights = network_weights(begin(make_run, tmp_path / "run", io, source))
    assert all(torch.allclose(value, source.weights[name], atol=1e-12) for name, value in weights.items())
    count = len(weights)
    summary = f"pretrained: {count} tensors taken, 0 adapted, 0 left fresh, 0 of the source unused; from source"
    assert summary in caplog.text
    record = (tmp_path / "run/train.log").read_text()
    assert record.count("pretrained: taken ") == count
    assert "pretrained: taken    decoder.seg_layers.0.bias" in record


def test_a_training_that_goes_on_keeps_its_own(
    make_run: MakeRun, io: FoldIO, source: Pretrained, tmp_path: Path
) -> None:
    first = network_weights(begin(make_run, tmp_path / "run", io, source))
    zeros = Pretrained(
        "zeros", {name: torch.zeros_like(value) for name, value in source.weights.items()}, source.labels
    )
    second = network_weights(begin(make_run, tmp_path / "run", io, zeros, max_epochs=2))
    assert all(torch.allclose(value, second[name], atol=1e-12) for name, value in first.items())


def test_other_labels_need_a_word(make_run: MakeRun, io: FoldIO, source: Pretrained, tmp_path: Path) -> None:
    other = dataclasses.replace(source, labels=LabelSet({"background": 0, "tumor": 1, "shell": 2}))
    with pytest.raises(UsageError, match="a new head: other labels"):
        begin(make_run, tmp_path / "run", io, other)
    adapt = PretrainedSettings(path="somewhere", on_mismatch="adapt")
    weights = network_weights(begin(make_run, tmp_path / "run", io, other, pretrained=adapt))
    head = "decoder.seg_layers.1.weight"
    assert not torch.allclose(weights[head], source.weights[head])
    # fresh: He's normal initialization over 4 features, std sqrt(2 / 1.0001 / 4)
    assert 0.2 < weights[head].std().item() / math.sqrt(0.5) < 2
    assert make_plan().labels == source.labels


def test_a_source_of_which_little_fits_is_warned_of(
    make_run: MakeRun, io: FoldIO, source: Pretrained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapt = PretrainedSettings(path="somewhere", on_mismatch="adapt")
    few = dict(list(source.weights.items())[:2])
    begin(make_run, tmp_path / "run", io, dataclasses.replace(source, weights=few), pretrained=adapt)
    (warned,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING and "half" in each.msg]
    count = len(source.weights)
    assert f"left fresh ({count - 2} of {count})" in warned


def test_a_bayesian_unet_begins_as_a_unet(make_run: MakeRun, io: FoldIO, source: Pretrained, tmp_path: Path) -> None:
    weights = network_weights(begin(make_run, tmp_path / "run", io, source, network=NetworkSettings("bayesian_unet")))
    assert all(torch.allclose(value, source.weights[name], atol=1e-12) for name, value in weights.items())


def test_a_network_that_needs_values_can_begin_so(
    make_run: MakeRun, io: FoldIO, source: Pretrained, tmp_path: Path
) -> None:
    own = NetworkSettings("mine", "tests.nn.own.Values")
    there = build_network(make_run().configuration, make_run().num_channels, 3, network=own).state_dict()
    begun = begin(make_run, tmp_path / "run", io, dataclasses.replace(source, weights=there), network=own)
    assert all(torch.allclose(value, there[name], atol=1e-12) for name, value in network_weights(begun).items())
