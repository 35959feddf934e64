"""Lightning is given the ranks that were started, and what it counts itself is held against them."""

import logging

import pytest

from segfw.core.errors import JobError
from segfw.core.support.ranks import Ranks
from segfw.training.ranks import GivenRanks

SECOND_OF_FOUR = Ranks(rank=1, world_size=4, local_rank=0, local_size=2, node=1, address="a", port=29500)


def test_another_number_of_processes_than_was_started_is_refused():
    given = GivenRanks(SECOND_OF_FOUR)
    given.set_world_size(4)
    with pytest.raises(JobError, match="would train in 2 processes, 4 have been started"):
        given.set_world_size(2)
    assert given.world_size() == 4


def test_the_launchers_rank_holds_where_lightning_counts_another(caplog):
    given = GivenRanks(SECOND_OF_FOUR)  # dealt out in turns: ranks 0 and 2 are node 0, 1 and 3 are node 1
    with caplog.at_level(logging.DEBUG, "segfw.training.ranks"):
        given.set_global_rank(1 * 2 + 0)
    assert given.global_rank() == 1
    assert caplog.messages == ["rank 1, which Lightning would count as 2"]
