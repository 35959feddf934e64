"""Two commands on one output, of which one was asleep: whoever has lost a lock commits nothing of what it guards."""

import importlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from segfw.core.errors import ArtefactError, JobError
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.support import locks
from segfw.core.support.locks import hold, owner_of
from segfw.stages.reporting import example
from tests.faults.tiny_job import STAGES, cheap, run, run_folder, settings_of

OTHER = {"token": "other", "host": "elsewhere", "processes": "theirs", "pid": 7, "started": "1"}
RUN = "runs/main/default/planned/3d_fullres/fold_0"
FIT, WHOLE_CASES = "segfw.training.fit", "segfw.training.validation"

# The stage, the last thing that it does before it writes, and what must not be there then, in the order of a job.
COMMITS = (
    ("fingerprint", "segfw.stages.fingerprint.pool_fingerprints", ["fingerprint.yaml"]),
    ("plan", "segfw.stages.plan.generate", ["plans/default.yaml"]),
    (
        "preprocess",
        "segfw.stages.preparation.preprocess_case",
        ["preprocessed/*/*.npy", "preprocessed/*/*.record.json"],
    ),
    ("preprocess", "segfw.stages.preprocess._is_whole", ["preprocessed/*/manifest.json"]),
    ("train", "segfw.training.callbacks.curves_log.epoch_metrics", [f"{RUN}/metrics.csv", f"{RUN}/training.png"]),
    ("train", "segfw.training.callbacks.curves_log.write_rows", [f"{RUN}/checkpoints/*.ckpt", f"{RUN}/failed.yaml"]),
    ("train", f"{WHOLE_CASES}.case_logits", [f"{RUN}/validation/[!.]*"]),
    ("train", f"{WHOLE_CASES}.add_scored", [f"{RUN}/validation/metrics.*"]),
    ("train", f"{FIT}.load_checkpoint", [f"{RUN}/done.yaml"]),
    ("select", "segfw.stages.selection.select.compete", ["selection/main.yaml"]),
    ("select", "segfw.stages.selection.select.model_members", ["models/main/*"]),
    ("report", "segfw.stages.reporting.report.build_report", ["report/index.html"]),
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExperimentSettings]:
    """A job, which the tests below bring to its end together."""
    with cheap():
        yield settings_of(tmp_path_factory.mktemp("two"))


def then_another_takes_it(function: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    """Let another command take every lock that is held when `function` has done its work."""

    def work(*arguments: Any, **keywords: Any) -> Any:
        result = function(*arguments, **keywords)
        for path in folder.glob("*.lock"):
            path.write_text(json.dumps(OTHER))
        return result

    return work


@pytest.mark.parametrize(
    ("stage", "place", "files"), COMMITS, ids=[place.rpartition(".")[2] for _, place, _ in COMMITS]
)
def test_who_has_lost_the_lock_commits_nothing(
    settings: ExperimentSettings, monkeypatch: pytest.MonkeyPatch, stage: str, place: str, files: list[str]
) -> None:
    output = Path(settings.output_root) / "Tiny"
    run(settings, STAGES[: STAGES.index(stage)])
    module, _, name = place.rpartition(".")
    function = getattr(importlib.import_module(module), name)
    with monkeypatch.context() as patch:
        patch.setattr(place, then_another_takes_it(function, output / ".locks"))
        with pytest.raises(JobError, match=r"lost the lock .* process 7 on elsewhere took it; nothing was committed"):
            run(settings, [stage])
    assert [path for pattern in files for path in output.glob(pattern)] == []
    assert list((output / ".locks").glob("*.lock"))  # the other's, which is not given back in its place
    for path in (output / ".locks").iterdir():
        path.unlink()


def test_who_has_lost_the_report_leaves_no_example(
    settings: ExperimentSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    output = Path(settings.output_root) / "Tiny"
    taken_then = then_another_takes_it(example.open_predictor, output / ".locks")
    monkeypatch.setattr(example, "open_predictor", taken_then)
    run(settings, ["report"])
    assert any("without an example prediction: lost the lock" in message for message in caplog.messages)
    assert list((output / "report").glob("*example*")) == []
    (output / ".locks" / "report.lock").unlink()


def test_then_the_same_commands_come_to_their_end(settings: ExperimentSettings) -> None:
    run(settings)
    output = Path(settings.output_root) / "Tiny"
    assert all(list(output.glob(pattern)) for _, _, files in COMMITS for pattern in files if "failed" not in pattern)
    assert run_folder(Path(settings.output_root).parent).is_dir()


def leave(path: Path, **changes: object) -> None:
    """Leave a lock file of a process that is not there, counted with ours."""
    owner = {
        "token": "t",
        "host": socket.gethostname(),
        "processes": locks._processes(),
        "pid": 2**22 + 1,
        "started": "1",
    }
    path.write_text(json.dumps({**owner, **changes}))


def taken(path: Path) -> bool:
    try:
        with hold(path, "x", wait=False):
            return True
    except ArtefactError:
        return False


@pytest.mark.parametrize(("changes", "free"), [
    ({}, True),
    ({"pid": os.getpid()}, True),  # a number that is in use again: by this process, which started at another time
    ({"pid": 2**70}, True),
    ({"host": "elsewhere"}, False),
    ({"processes": "another container of the same host name"}, False),
    ({"processes": None}, False),
    ({"pid": "seven"}, False),
])  # fmt: skip
def test_only_a_process_that_would_be_seen_here_is_known_to_be_gone(
    tmp_path: Path, changes: dict[str, object], free: bool
) -> None:
    leave(tmp_path / "x.lock", **changes)
    assert taken(tmp_path / "x.lock") is free


@pytest.mark.parametrize("content", [b"", b"[]", b'"text"', b"{", b"\xff\xfe", b'{"token": 5}'])
def test_a_lock_file_that_says_nothing_holds_until_it_expires(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.lock"
    path.write_bytes(content)
    assert not taken(path)
    long_ago = time.time() - locks.EXPIRY - 1
    os.utime(path, (long_ago, long_ago))
    assert taken(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_clocks_of_hosts_may_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    """What this host takes for the time is an hour off; the file system gives files their times."""
    path = tmp_path / "x.lock"
    now = time.time()
    monkeypatch.setattr(locks.time, "time", lambda: now + 3600 * hours)
    leave(path, host="elsewhere")
    assert not taken(path)
    os.utime(path, (now - locks.EXPIRY - 60, now - locks.EXPIRY - 60))
    assert taken(path)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_whose_folder_is_gone_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "x.lock"
    with hold(path, "x") as lock:
        path.unlink()
        path.parent.rmdir()
        with pytest.raises(ArtefactError, match=r"lost the lock .*: it is gone: another command .* or its folder was"):
            lock.check()
    assert owner_of(path) is None
