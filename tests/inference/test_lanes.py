import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from segfw.inference.lanes import side_by_side


class Noting(nn.Module):
    """Triples a batch and notes who asked for how much of it, with how many threads; waits for `together` callers."""

    def __init__(self, together=1):
        super().__init__()
        self.calls, self.meeting = [], threading.Barrier(together)

    def forward(self, batch):
        self.meeting.wait(timeout=20)
        self.calls.append((threading.current_thread().name, len(batch), torch.get_num_threads()))
        return 3 * batch


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_samples_go_side_by_side_and_come_back_in_order(four_threads):
    network, batch = Noting(together=2), torch.arange(4.0).reshape(4, 1, 1)
    with side_by_side(network, 2) as compute, torch.inference_mode():
        assert torch.equal(compute(batch), 3 * batch)
    names, sizes, threads = zip(*network.calls, strict=True)
    assert sizes == (1, 1, 1, 1)
    assert set(threads) == {2}
    assert threading.current_thread().name not in names


def test_a_single_sample_gets_all_threads(four_threads):
    network = Noting()
    with side_by_side(network, 2) as compute:
        compute(torch.ones(1, 1, 1))
    assert network.calls == [(threading.current_thread().name, 1, 4)]


def test_other_threads_keep_their_number(four_threads):
    with side_by_side(Noting(), 4), ThreadPoolExecutor(1) as others:
        assert others.submit(torch.get_num_threads).result() == 4
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize(("lanes", "threads"), [(1, 4), (4, 1)])
def test_one_lane_is_the_network_itself(four_threads, lanes, threads):
    torch.set_num_threads(threads)
    network = Noting()
    with side_by_side(network, lanes) as compute:
        compute(torch.ones(3, 1, 1))
    assert network.calls == [(threading.current_thread().name, 3, threads)]


def test_more_lanes_than_threads_are_not_opened():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    network = Noting()
    with side_by_side(network, 8) as compute:
        compute(torch.ones(8, 1, 1))
        assert sum(thread.name.startswith("windows") for thread in threading.enumerate()) == 2
    torch.set_num_threads(before)


def test_an_error_of_the_network_arrives():
    class Failing(nn.Module):
        def forward(self, batch):
            raise MemoryError("of this window")

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with pytest.raises(MemoryError, match="of this window"), side_by_side(Failing(), 2) as compute:
        compute(torch.ones(2, 1, 1))
    torch.set_num_threads(before)
