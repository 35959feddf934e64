"""A job of SLURM's that is told in time that it will be ended (`#SBATCH --signal=USR1@120`), and how it goes on."""

import signal
import subprocess
from collections.abc import Mapping

WARNINGS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))
"""What users let SLURM send. It would end a process that does not know it."""
SECONDS = 30.0


def warns(environment: Mapping[str, str]) -> bool:
    """Whether this process is of a job of SLURM's. (One of submitit's answers the warnings itself.)"""
    return "SLURM_JOB_ID" in environment and "SUBMITIT_EXECUTOR" not in environment


def requeue(environment: Mapping[str, str]) -> str:
    """Have SLURM queue this job again, which ends it; of the tasks of a job the first does so. Say what came of it."""
    if environment.get("SLURM_PROCID", "0") != "0":
        return "terminated"
    job = environment["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in environment:
        job = f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
    try:
        asked = subprocess.run(
            ["scontrol", "requeue", job], capture_output=True, encoding="utf-8", timeout=SECONDS, check=False
        )
        wrong = "" if asked.returncode == 0 else asked.stderr.strip() or f"status {asked.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        wrong = str(error)
    if wrong:
        return f"terminated; SLURM did not queue job {job} again ({wrong}): submit it, and it goes on"
    return f"terminated; SLURM queues job {job} again, which goes on"
