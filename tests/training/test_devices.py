from dataclasses import replace
from pathlib import Path

import pytest

from segfw.core.errors import DeviceError, UsageError
from segfw.training.devices import Device, Probes, available_cores, choose_device

NOTHING = Probes(
    cuda_available=lambda: False,
    cuda_build=lambda: None,
    cuda_name=lambda: "NVIDIA Test",
    cuda_memory=lambda: 25.4e9,
    cuda_failure=lambda: None,
    mps_memory=lambda: 12e9,
    mps_available=lambda: False,
    driver=lambda: None,
    cores=lambda: 2,
    multiplies_bf16=lambda: False,
)


def test_without_a_card_auto_is_the_processor() -> None:
    device = choose_device("auto", probes=NOTHING)
    assert device == Device("cpu", "CPU", "32-true", 2, "CPU, 2 threads (no CUDA device found)")


def test_threads_and_precision_can_be_given() -> None:
    device = choose_device("cpu", precision="bf16-mixed", threads=1, probes=NOTHING)
    assert (device.threads, device.precision) == (1, "bf16-mixed")
    assert device.description == "CPU, 1 thread (as asked)"
    assert device.training == "CPU, 1 thread (as asked), precision bf16-mixed"


def test_a_processor_that_multiplies_bfloat16_trains_in_it() -> None:
    probes = replace(NOTHING, multiplies_bf16=lambda: True)
    assert choose_device("cpu", probes=probes).precision == "bf16-mixed"
    assert choose_device("cpu", precision="32-true", probes=probes).precision == "32-true"


def test_a_card_is_used_in_half_precision() -> None:
    probes = replace(NOTHING, cuda_available=lambda: True, cuda_build=lambda: "13.0", driver=lambda: "580.65.06")
    device = choose_device("auto", probes=probes)
    assert (device.accelerator, device.name, device.precision) == ("cuda", "NVIDIA Test", "16-mixed")
    assert device.memory_gb == 25.4


def test_an_apple_gpu_has_the_share_of_memory_that_it_may_use() -> None:
    device = choose_device("auto", probes=replace(NOTHING, mps_available=lambda: True))
    assert (device.accelerator, device.memory_gb) == ("mps", 12.0)


@pytest.mark.parametrize(
    ("driver", "build", "words"),
    [
        ("550.54.14", None, r"driver 550\.54\.14.*without CUDA.*pip install .*<2\.11.*trainer\.accelerator=cpu"),
        ("580.65.06", None, r"driver 580\.65\.06.*without CUDA.*pip install --force-reinstall torch,.*accelerator=cpu"),
        ("550.54.14", "13.0", r"driver 550\.54\.14.*CUDA 13\.0, which needs driver 580.*<2\.11"),
        ("470.82.01", "12.8", r"driver 470\.82\.01.*needs driver 525.*Update the driver to 525.*pip install"),
        ("unknown", None, r"driver unknown.*pip install"),
    ],
)
@pytest.mark.parametrize("accelerator", ["auto", "gpu"])
def test_an_unusable_card_is_an_error(accelerator: str, driver: str, build: str | None, words: str) -> None:
    probes = replace(NOTHING, driver=lambda: driver, cuda_build=lambda: build)
    with pytest.raises(DeviceError, match=words):
        choose_device(accelerator, probes=probes)
    assert choose_device("cpu", probes=probes).accelerator == "cpu"


def test_a_card_without_kernels_is_an_error() -> None:
    probes = replace(NOTHING, cuda_available=lambda: True, cuda_failure=lambda: "no kernel image is available")
    with pytest.raises(DeviceError, match="no kernel image is available"):
        choose_device("auto", probes=probes)


@pytest.mark.parametrize("accelerator", ["gpu", "mps"])
def test_a_missing_device_is_an_error(accelerator: str) -> None:
    with pytest.raises(DeviceError, match=f"accelerator={accelerator} was asked for"):
        choose_device(accelerator, probes=NOTHING)


def test_unknown_words_are_refused() -> None:
    with pytest.raises(UsageError, match="got 'cud'"):
        choose_device("cud", probes=NOTHING)
    with pytest.raises(UsageError, match="threads must be at least 1, got 0"):
        choose_device("cpu", threads=0, probes=NOTHING)


@pytest.mark.parametrize(("quota", "expected"), [("50000 100000", 1), ("100000 100000", 1), ("max 100000", None)])
def test_cores_respect_the_quota(tmp_path: Path, quota: str, expected: int | None) -> None:
    unlimited = available_cores(tmp_path)
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert available_cores(tmp_path) == (expected or unlimited)


def test_cores_respect_the_older_quota(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("100000\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert available_cores(tmp_path) == 1
