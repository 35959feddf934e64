import pytest

from segfw.core.errors import UsageError
from segfw.core.support.ranks import ALONE, Ranks, launched_ranks

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "a-b",
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "GROUP_RANK": "1",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "29500",
}
SRUN = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_ID": "2",
    "SLURM_STEP_NUM_TASKS": "6",
    "SLURM_STEP_TASKS_PER_NODE": "2(x3)",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "2",
}


def test_torchrun_says_who_is_who() -> None:
    assert launched_ranks(TORCHRUN) == Ranks(3, 4, 1, 2, 1, "torchrun_a_b_29500", "node0", 29500)


def test_nodes_find_one_another_whose_agents_count_restarts_differently() -> None:
    begun = [launched_ranks({**TORCHRUN, "TORCHELASTIC_RESTART_COUNT": count}) for count in "01"]
    assert begun[0].launch == begun[1].launch


def test_srun_says_who_is_who() -> None:
    found = launched_ranks(SRUN)
    assert found == Ranks(5, 6, 1, 2, 2, "slurm_77_2", "", 0)
    assert found.together
    assert not found.leads
    assert launched_ranks({**SRUN, "SLURM_STEP_TASKS_PER_NODE": "2,2,2"}) == found


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"},  # a batch script before srun
        {**SRUN, "SLURM_STEP_NUM_TASKS": "1"},
        {**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "GROUP_RANK": "0"},
    ],
)
def test_a_process_may_be_alone(environment: dict[str, str]) -> None:
    assert launched_ranks(environment) == ALONE
    assert ALONE.leads


def test_nodes_must_be_alike() -> None:
    with pytest.raises(UsageError, match="as many processes as the others; this one runs 3 of 4"):
        launched_ranks({**SRUN, "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "1,1,3"})
