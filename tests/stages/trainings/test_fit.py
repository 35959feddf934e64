import json
import os
from pathlib import Path

import pytest

from segfw.core.errors import JobError
from segfw.core.support.conversion import to_plain
from segfw.core.support.ranks import Ranks
from segfw.stages.trainings import fit
from segfw.stages.trainings.fold_files import FoldFiles
from segfw.stages.trainings.rank_calls import Call

FIRST = Ranks(0, 2, launch="l")
FILES = FoldFiles({}, {}, "lock", "token")


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def join(call: Call, ranks: Ranks) -> None:
        raise error

    monkeypatch.setattr(fit, "join", join)


def test_a_rank_whose_companion_is_gone_points_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_PORT", "7")
    raising(monkeypatch, RuntimeError("[pair.cc:553] Connection closed by peer [127.0.0.1]:1"))
    with pytest.raises(JobError, match=r"rank 0 of 2 stops because another one has ended"):
        fit.answer(Call("run", FILES, None, "host", 1), FIRST)
    assert os.environ["MASTER_PORT"] == "7"


def test_an_error_of_its_own_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        fit.answer(Call("run", FILES, None, "host", 1), FIRST)


def call_in(folder: Path) -> Path:
    (folder / fit.CALL).write_text(json.dumps(to_plain(Call(str(folder), FILES, None))))
    return folder


@pytest.mark.parametrize("status", [0, 5])
def test_a_rank_that_is_asked_to_exit_has_failed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int) -> None:
    raising(monkeypatch, SystemExit(status))
    with pytest.raises(JobError, match=rf"asked the program to exit \(status {status}\)"):
        fit._run_rank(call_in(tmp_path))


def test_a_rank_that_sigterm_has_ended_leaves_with_its_status(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    raising(monkeypatch, SystemExit(143))
    with pytest.raises(SystemExit, match="143"):
        fit._run_rank(call_in(tmp_path))
