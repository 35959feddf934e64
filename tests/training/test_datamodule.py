"""The same batches whatever the cache and the workers, and names that mean nothing."""

import logging

import pytest
import torch

from segfw.core.errors import UsageError
from segfw.core.settings.training import AugmentationSettings, DataSettings, SamplingSettings
from segfw.training.datamodule import SegmentationDataModule, check_input, warn_of_unknown_names
from tests.training.conftest import CPU


def batches(run):
    data = SegmentationDataModule.of_run(run, CPU)
    return [batch for loader in (data.train_dataloader(), data.val_dataloader()) for batch in loader]


def test_caches_and_workers_do_not_change_the_batches(make_run) -> None:
    settings = [DataSettings("none", 0), DataSettings("host", 0), DataSettings("device", 0), DataSettings("none", 2)]
    expected, *others = (batches(make_run(data=data)) for data in settings)
    assert len(expected) == 4
    for found in others:
        for one, other in zip(expected, found, strict=True):
            assert torch.equal(one["image"], other["image"])
            assert torch.equal(one["label"], other["label"])
            assert one["cases"] == other["cases"]


def test_weights_are_for_training_alone(make_run) -> None:
    run = make_run(sampling=SamplingSettings(case_weights={"a": 0.0, "c": 0.0}))
    cases = [case for batch in batches(run) for case in batch["cases"]]
    assert cases == ["b"] * 4 + ["c"] * 4


def test_names_that_mean_nothing(make_run, caplog: pytest.LogCaptureFixture) -> None:
    sampling = SamplingSettings(class_weights={"cor": 2.0, "core": 1.0}, case_weights={"bb": 2.0, "a": 3.0, "c": 1.0})
    with caplog.at_level(logging.WARNING, "segfw"):
        warn_of_unknown_names(make_run(sampling=sampling))
    assert caplog.messages == [
        "sampling.class_weights: 'cor' is no class, did you mean 'core'?; there are core, shell",
        "sampling.case_weights: 'bb' is no case, did you mean 'b'?",
    ]


def test_a_run_that_could_not_be_fed_is_refused(make_run) -> None:
    check_input(make_run(data=DataSettings("device")))
    check_input(make_run(sampling=SamplingSettings(case_weights={"a": 0.0}, class_weights={"core": 0.0})))
    with pytest.raises(UsageError, match=r"sampling\.case_weights gives every one of \['a', 'b'\] the weight 0"):
        check_input(make_run(sampling=SamplingSettings(case_weights={"a": 0.0, "b": 0.0})))
    with pytest.raises(UsageError, match=r"sampling\.class_weights gives every one of \['core', 'shell'\] the w"):
        check_input(make_run(sampling=SamplingSettings(class_weights={"core": 0.0, "shell": 0.0})))
    with pytest.raises(UsageError, match=r"data\.cache=device is not possible where artefacts of scanners"):
        check_input(make_run(data=DataSettings("device"), augmentation=AugmentationSettings(motion_probability=0.1)))


def test_a_repeated_batch_is_the_same_to_the_bit(make_run) -> None:
    run = make_run(sampling=SamplingSettings(repeat_batches=1))
    loader = SegmentationDataModule.of_run(run, CPU).train_dataloader()
    found = []
    for epoch in range(2):
        loader.batch_sampler.set_epoch(epoch)
        found += list(loader)
    assert len(found) == 4
    assert all(torch.equal(batch["image"], found[0]["image"]) for batch in found)
    assert all(torch.equal(batch["label"], found[0]["label"]) for batch in found)
    assert len(set(batches(run)[-1]["indices"].tolist()) & {0, 1}) == 0  # validation goes on
