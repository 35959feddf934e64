"""What windows take, worked out by hand, and what is chosen from it."""

import pytest
import torch

from segfw.inference import memory
from segfw.inference.fallbacks import Way
from segfw.inference.memory import Budget, Need, WindowDemand, choose_course, memory_budget, restoring_places

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
DEMAND = WindowDemand(image=100, logits=50, sums=400, window=30)


def test_demand_of_a_volume():
    """3 x 10 x 20 padded to 4 x 10 x 20 voxels: 800; windows of 4 x 4 x 4, sums 4 planes deep for 3 heads, two weights
    and what one head's mean takes.
    """
    demand = WindowDemand.of(2, (3, 10, 20), (4, 4, 4), 3, network_bytes=1000.0)
    assert demand.image == 4 * 2 * 800
    assert demand.logits == 2 * 3 * 800
    assert demand.sums == 4 * (3 + 3) * 800
    assert demand.window == 4 * 64 * (2 * 2 + 3 * 3) + 1500


def test_demand_of_slices():
    demand = WindowDemand.of(1, (5, 8, 8), (4, 16), 2, network_bytes=0.0)
    assert demand.image == 4 * 5 * 8 * 16
    assert demand.sums == 4 * (2 + 3) * 8 * 16
    assert demand.window == 4 * 64 * (2 + 3 * 2)


def test_a_single_window_needs_no_sums():
    assert WindowDemand.of(1, (3, 4, 4), (4, 4, 4), 2, 0.0).sums == 0


@pytest.mark.parametrize(
    ("budget", "way", "expected"),
    [
        (Budget(1000, 1000), Way(GPU, 8), (8, False, Need(150, 740))),
        (Budget(1000, 620), Way(GPU, 8), (4, False, Need(150, 620))),
        (Budget(1000, 619), Way(GPU, 8), (2, False, Need(150, 560))),
        (Budget(1000, 529), Way(GPU, 8), (8, True, Need(550, 240))),
        (Budget(1000, 100), Way(GPU, 8), (2, True, Need(550, 60))),
        (Budget(1000, 1000), Way(GPU, 1, sums_on_host=True), (1, True, Need(550, 30))),
        (Budget(149, 1000), Way(GPU, 8), (1, True, Need(550, 30))),  # nothing fits
        (Budget(1000, 0), Way(CPU, 8), (8, True, Need(790))),
        (Budget(650, 0), Way(CPU, 8), (2, True, Need(610))),
        (Budget(1, 0), Way(CPU, 8), (1, True, Need(580))),
    ],
)
def test_the_fastest_course_that_fits_is_chosen(budget, way, expected):
    course = choose_course(DEMAND, budget, way)
    assert (course.batch_size, course.sums_on_host, course.need) == expected


def test_a_budget_given_counts_for_host_and_device():
    assert memory_budget(2.5, GPU) == Budget(2.5e9, 2.5e9, given=True)


def test_otherwise_a_share_of_what_is_free(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 1000)
    assert memory_budget(None, CPU) == Budget(800, 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (500, 9999))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 300)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 200)
    assert memory_budget(None, GPU) == Budget(800, 480)


def test_places_end_on_the_cpu():
    large, small, last = restoring_places(GPU, Budget(8e9, 4e9))
    assert (large.device, large.band_bytes, large.heads_at_once) == (GPU, 500_000_000, None)
    assert (small.device, small.band_bytes, small.heads_at_once) == (GPU, 62_500_000, None)
    assert (last.device, last.band_bytes, last.heads_at_once) == (CPU, memory.BAND_BYTES, 1)
    assert restoring_places(CPU, Budget(8e6, 0))[0].band_bytes == 1_000_000


def test_needs_in_words():
    assert str(Need(3.21e9)) == "3.21 GB of memory"
    assert str(Need(42e6, 1.5e9)) == "42.0 MB of memory, and 1.50 GB on the device"
