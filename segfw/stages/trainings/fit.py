"""Fits of several processes: each is called with a run's folder and finds there what to train.

`python -m segfw.stages.trainings.fit LAUNCHER RUN_DIR` is what a rank runs under torch's launcher; the processes of
torchrun and srun are called by rank 0 instead (`rank_calls`). It lies here, not in `segfw.training`, since a rank reads
the run's YAML and, for whole-case validation, images, which `segfw.training` leaves to its callers.
"""

import json
import logging
import math
import os
import socket
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from segfw.core.errors import JobError
from segfw.core.scoring.metrics import summary_from_plain
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.support.attempts import attempt
from segfw.core.support.conversion import from_plain, to_plain
from segfw.core.support.files import write_text
from segfw.core.support.parents import EXIT_AFTER_SIGTERM, leave_with_parent
from segfw.core.support.ranks import Ranks, launched_ranks
from segfw.core.support.screen import Screen
from segfw.stages.dataset.raw import workspace_of
from segfw.stages.trainings.fold_files import FoldFiles, fold_io
from segfw.stages.trainings.followers import following
from segfw.stages.trainings.pretrained import read_pretrained
from segfw.stages.trainings.rank_calls import Call, call_ranks, calls, session_folder, watching_others
from segfw.stages.trainings.runs import load_callbacks, load_run
from segfw.training.callbacks.own import build_callbacks
from segfw.training.checkpoints import can_go_on, load_checkpoint
from segfw.training.devices import choose_device
from segfw.training.ending import standing_of
from segfw.training.epoch_cost import Machine
from segfw.training.fit import FoldResult, fit_fold
from segfw.training.launch import is_consequence, launch, record_failure
from segfw.training.leaving import leave_warnings_to_the_main_process
from segfw.training.module import EMA_KEY
from segfw.training.ranks import take_device
from segfw.training.run import CHECKPOINTS, LAST, METRICS_JSON, VALIDATION
from segfw.training.team import threads_per_process
from segfw.workspace import Workspace, load_json

CALL, ANSWER = ".call.json", ".answer.json"
MEETING = ("TORCHELASTIC_USE_AGENT_STORE", "MASTER_ADDR", "MASTER_PORT")
"""What Lightning and PyTorch read and write of the environment to let ranks meet."""


def fit_in_children(folder: Path, files: FoldFiles, processes: int, deadline: float) -> FoldResult:
    """Train the run that `folder`/config.yaml describes in so many processes of this computer."""
    path = folder / CALL
    write_text(path, json.dumps(to_plain(Call(str(folder.absolute()), files, _seconds_to(deadline)))))
    try:
        launch(__name__, [str(folder)], processes)
        return _result(folder)
    finally:
        path.unlink(missing_ok=True)
        (folder / ANSWER).unlink(missing_ok=True)


def fit_with_called(folder: Path, files: FoldFiles, workspace: Workspace, ranks: Ranks, deadline: float) -> FoldResult:
    """Train the run in `folder` with the processes that torchrun or srun has started; this one is rank 0 of them."""
    address = ranks.address or socket.gethostname()
    call = Call(str(folder.absolute()), files, _seconds_to(deadline), address, _free_port())
    session = session_folder(workspace, ranks)
    call_ranks(session, call)
    with watching_others(session, ranks):
        return answer(call, ranks)


def follow(settings: ExperimentSettings) -> None:
    """Take part in every fit that rank 0 of the launch calls for."""
    ranks = launched_ranks()
    logging.basicConfig(format=f"rank {ranks.rank}: %(message)s", level=logging.WARNING)
    session = session_folder(workspace_of(settings), ranks)
    for call in calls(session, ranks):
        with watching_others(session, ranks):
            answer(call, ranks)


def answer(call: Call, ranks: Ranks) -> FoldResult:
    """Take part in one fit. Each has a meeting place of its own, kept by rank 0, instead of the launcher's."""
    before = {name: os.environ.get(name) for name in MEETING}
    os.environ[MEETING[0]] = "False"
    try:
        return join(call, replace(ranks, address=call.address, port=call.port))
    except RuntimeError as error:
        if not is_consequence(f"{type(error).__name__}: {error}"):
            raise
        raise JobError(
            f"rank {ranks.rank} of {ranks.world_size} stops because another one has ended, which tells why in its own "
            "output; give the command again to go on from the last checkpoint"
        ) from error
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def join(call: Call, ranks: Ranks) -> FoldResult:
    """Be one of the `ranks` that train the run of `call`."""
    deadline = math.inf if call.seconds_left is None else time.monotonic() + call.seconds_left
    folder = Path(call.folder)
    run = load_run(folder)
    callbacks = build_callbacks(load_callbacks(folder))
    pretrained = None
    if run.pretrained is not None and not can_go_on(folder / CHECKPOINTS):
        pretrained = read_pretrained(run.pretrained, run.configuration_name, run.fold)
    settings = run.trainer
    take_device(ranks, settings.devices)
    threads = threads_per_process(settings, ranks.local_size)
    device = choose_device(settings.accelerator, settings.precision, threads)
    io = fold_io(call.files)
    with following(run, folder, io, ranks) as followers:
        return fit_fold(run, folder, device, io, (*callbacks, *followers), pretrained, deadline, ranks)


def _result(folder: Path) -> FoldResult:
    """Read what the processes have left; `ArtefactError` when something is missing."""
    last, metrics = folder / CHECKPOINTS / LAST, folder / VALIDATION / METRICS_JSON
    run, checkpoint = load_run(folder), load_checkpoint(last)
    scores = summary_from_plain(load_json(metrics)) if run.val_cases else None
    end = standing_of(checkpoint)
    machine = from_plain(Machine, json.loads((folder / ANSWER).read_text(encoding="utf-8")), ANSWER)
    return FoldResult(last, end.epochs, checkpoint.get(EMA_KEY), scores, end.end(run), end.seconds, machine)


def _seconds_to(deadline: float) -> float | None:
    return None if math.isinf(deadline) else max(0.0, deadline - time.monotonic())


def _free_port() -> int:
    with socket.socket() as place:
        place.bind(("", 0))
        return int(place.getsockname()[1])


@record_failure
def _run_rank(folder: Path) -> None:
    call = from_plain(Call, json.loads((folder / CALL).read_text(encoding="utf-8")), CALL)
    ranks = launched_ranks()
    try:
        result = join(call, ranks)
        if ranks.leads:
            write_text(folder / ANSWER, json.dumps(to_plain(result.machine)))
    except SystemExit as error:
        if error.code == EXIT_AFTER_SIGTERM:
            raise
        raise JobError(f"something in the training asked the program to exit (status {error.code})") from error


def main(launcher: str, folder: str) -> int:
    """Be a rank under torch's launcher, which tells the command that started it how this one ended."""
    leave_with_parent(int(launcher))
    leave_warnings_to_the_main_process()
    ranks = launched_ranks()
    form, level = ("%(message)s", logging.INFO) if ranks.leads else (f"rank {ranks.rank}: %(message)s", logging.WARNING)
    logging.basicConfig(format=form, level=level, handlers=[Screen(sys.stdout)])
    if attempt(partial(_run_rank, Path(folder))).error is not None:  # which is recorded
        logging.shutdown()
        sys.stdout.flush()
        os._exit(1)  # at once: others wait for this rank, and an open process group might not end in order
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
