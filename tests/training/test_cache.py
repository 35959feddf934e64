"""Where cases are held, from sizes alone."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segfw.core.errors import JobError, UsageError
from segfw.core.planning.memory import configuration_memory
from segfw.core.settings.training import AugmentationSettings, DataSettings
from segfw.data.store import Store
from segfw.training.cache import (
    Choice,
    cache_of,
    choose_cache,
    find_hindrance,
    free_memory,
    hindrance_of,
    hold_in_memory,
    training_memory,
)
from tests.training.conftest import CPU, make_plan

GB = 10**9


@pytest.mark.parametrize(
    ("held", "training", "free", "expected"),
    [
        (20 * GB, 50 * GB, 80 * GB, "device"),  # 0.9 * 80 - 50 = 22
        (23 * GB, 50 * GB, 80 * GB, "none"),
        (1, 1, None, "none"),
    ],
)
def test_auto_leaves_room_for_the_training(held: int, training: float, free: int | None, expected: str) -> None:
    assert choose_cache("auto", held, training, free).cache == expected


def test_what_was_chosen_is_said() -> None:
    line = choose_cache("auto", 20 * GB, 50 * GB, 80 * GB).line
    assert line == (
        "data.cache=auto: 20.00 GB of cases are held in device memory (of 80.0 GB free, training takes about 50.0 GB)"
    )


def test_what_is_asked_for_is_done() -> None:
    for asked in ("device", "host", "none"):
        assert choose_cache(asked, GB, 9 * GB, 2 * GB) == Choice(asked, f"data.cache={asked}: 1.00 GB of cases")


def test_cases_that_cannot_fit() -> None:
    with pytest.raises(JobError, match=r"data.cache=device: 3.00 GB of cases do not fit into 2.0 GB"):
        choose_cache("device", 3 * GB, 1, 2 * GB)


def test_what_hinders_the_device() -> None:
    assert choose_cache("auto", 1, 1, GB, "cats sleep").line.endswith("read from files, since cats sleep")
    with pytest.raises(UsageError, match=r"data.cache=device is not possible where cats sleep"):
        choose_cache("device", 1, 1, GB, "cats sleep")


def test_the_processor_has_no_memory_of_its_own() -> None:
    assert free_memory(torch.device("cpu")) is None


def test_cases_of_a_run(make_run, caplog: pytest.LogCaptureFixture) -> None:
    run = make_run(data=DataSettings(cache="host"))
    store = Store.open(Path(run.store))
    with caplog.at_level(logging.INFO, "segfw"):
        assert cache_of(run, store, run.train_cases, CPU, torch.device("cpu")) == "host"
        hold_in_memory(store, run.train_cases)
        assert cache_of(make_run(), store, run.train_cases, CPU, torch.device("cpu")) == "none"
    assert caplog.messages == ["data.cache=host: 0.00 GB of cases"]


def test_a_training_needs_its_feature_maps(make_run) -> None:
    # Values kept, 2.7 for each of the planner's, four bytes each, two samples; the rest is the reserve.
    values = configuration_memory(make_plan().configurations["3d_fullres"], 3)
    assert training_memory(make_run(), CPU) == 2e9 + 2 * values * 4 * 2.7


def test_what_processors_have_to_do(make_run) -> None:
    assert find_hindrance(make_run()) is None
    noisy = find_hindrance(make_run(augmentation=AugmentationSettings(spike_probability=0.1)))
    assert noisy == "artefacts of scanners are added where patches are read"
    kept = find_hindrance(make_run(augmentation=AugmentationSettings(device="cpu")))
    assert kept == "augmentation.device=cpu keeps the augmentation where patches are read"
    assert hindrance_of(AugmentationSettings()) is None
    plan = make_plan()
    second = replace(plan.configurations["3d_fullres"], previous_stage="3d_lowres")
    plan = replace(plan, configurations={"3d_lowres": plan.configurations["3d_fullres"], "3d_fullres": second})
    fed = find_hindrance(make_run(plan=plan))
    assert fed == "the segmentations by 3d_lowres are changed where patches are read (3d_fullres)"
