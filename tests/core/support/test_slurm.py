import os
import sys
from pathlib import Path

import pytest

from segfw.core.support import slurm

ARRAY = {"SLURM_JOB_ID": "19", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a program that is found as `scontrol` notes what it is asked for; it refuses job 13."""
    path = tmp_path / "asked"
    program = tmp_path / "scontrol"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nopen({str(path)!r}, 'a').write(' '.join(sys.argv[1:]))\n"
        "if sys.argv[2] == '13': sys.exit('Requested operation is presently disabled')\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return path


def test_only_jobs_of_slurm_itself_are_warned():
    assert slurm.warns({"SLURM_JOB_ID": "12"})
    assert not slurm.warns({"SLURM_JOB_ID": "12", "SUBMITIT_EXECUTOR": "slurm"})
    assert not slurm.warns({})


@pytest.mark.parametrize(
    ("environment", "words"), [({"SLURM_JOB_ID": "12"}, "requeue 12"), (ARRAY, "requeue 12_3")], ids=["job", "array"]
)
def test_the_job_is_queued_again(asked: Path, environment: dict[str, str], words: str):
    assert "queues job" in slurm.requeue(environment)
    assert asked.read_text() == words


def test_of_several_tasks_the_first_asks(asked: Path):
    assert slurm.requeue({"SLURM_JOB_ID": "12", "SLURM_PROCID": "1"}) == "terminated"
    assert not asked.exists()


def test_a_refusal_is_told(asked: Path):
    said = slurm.requeue({"SLURM_JOB_ID": "13"})
    assert said.startswith("terminated; SLURM did not queue job 13 again (Requested operation is presently disabled)")


def test_so_is_a_missing_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "No such file or directory: 'scontrol'): submit it, and it goes on" in slurm.requeue({"SLURM_JOB_ID": "12"})
