"""The verb `download` as users meet it: exit statuses, progress, interruptions, and what it says at the end."""

import hashlib
import io
import logging
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from rich.console import Console

import segfw.__main__ as program
from segfw.core.errors import UsageError
from segfw.core.settings.schema import TaskSettings
from segfw.core.settings.verbs import DownloadSettings
from segfw.io.fetching import fetch
from segfw.stages.dataset import download
from tests.io.fetching.archive_site import archive, drop, give, serving


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    with serving() as start:
        yield start


def command(tmp_path, *arguments):
    return [
        sys.executable,
        "-m",
        "segfw",
        "download",
        f"data_root={tmp_path}/data",
        f"output_root={tmp_path}/out",
        *arguments,
    ]


def held(handler, start):
    """Give a third of what is left, and then nothing for a while."""
    give(handler, start, send=(len(handler.server.content) - start) // 3)
    handler.wfile.flush()
    time.sleep(10)


def test_a_decathlon_task_by_the_command_line(serve, tmp_path):
    content = archive({"Task04_Hippocampus/dataset.json": b"{}", "Task04_Hippocampus/imagesTr/a.nii.gz": b"x" * 9000})
    site = serve(content, answers=[held])
    asked = ["+task=Task04", f"task.url={site.url}", f"task.md5={hashlib.md5(content).hexdigest()}"]
    part = tmp_path / "data/Task04_Hippocampus.part"

    first = subprocess.Popen(
        command(tmp_path, *asked), stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    )
    wait_for(part, len(content) // 3)
    first.kill()
    first.communicate()
    assert part.stat().st_size == len(content) // 3

    site.answers = [held]
    second = subprocess.Popen(
        command(tmp_path, *asked), stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    )
    wait_for(part, len(content) // 3 + 1)
    second.send_signal(signal.SIGINT)
    output, errors = second.communicate()
    assert second.returncode == 130
    assert re.search(rf"0\.0 MB are kept in {part}; the same command goes on from there", output), output
    assert "interrupted" in errors
    assert "Traceback" not in output + errors

    third = subprocess.run(command(tmp_path, *asked), capture_output=True, encoding="utf-8", check=False)
    assert third.returncode == 0, third.stdout + third.stderr
    assert site.asked[0] is None
    assert all(asked is not None for asked in site.asked[1:])
    assert os.listdir(tmp_path / "data") == ["Task04_Hippocampus"]
    assert third.stdout.endswith(
        f"download: {tmp_path}/data/Task04_Hippocampus is there (2 files, 0.0 MB); next:\n"
        f"  python -m segfw +task=Task04 data_root={tmp_path}/data\n"
    )


def wait_for(part, size):
    for _ in range(600):
        if part.is_file() and part.stat().st_size >= size:
            return
        time.sleep(0.05)
    raise AssertionError(f"{part} did not reach {size} bytes")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 1, "the archive has the MD5 {found}, task.md5 is 00000000000000000000000000000000"),
        (["task.url=ftp://host/x.tar"], 2, "task.url must begin with http://HOST/"),
        (["task.md5=abc"], 2, "task.md5 must be 32 hexadecimal digits, got 'abc'"),
        (["task.url=null"], 2, "task 'Toy' states no url"),
    ],
)
def test_exit_status_of_failures(serve, tmp_path, capsys, words, status, message):
    site = serve(archive())
    roots = [f"data_root={tmp_path}/data", f"output_root={tmp_path}/out"]
    usual = ["task.name=Toy", f"task.url={site.url}", f"task.md5={'0' * 32}"]
    given = [*(word for word in usual if word.split("=")[0] not in {each.split("=")[0] for each in words}), *words]
    assert program.main(["download", *roots, *given]) == status
    shown = capsys.readouterr()
    assert message.format(found=hashlib.md5(site.content).hexdigest()) in shown.err
    assert "Traceback" not in shown.out + shown.err
    assert not list((tmp_path / "data").glob("*"))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (TaskSettings(name="Mine"), "task 'Mine' states no url to download from"),
        (TaskSettings(name="Demo", synthetic="phantom"), "task 'Demo' is made on first use and needs no download"),
    ],
)
def test_tasks_that_cannot_be_downloaded(task, message):
    with pytest.raises(UsageError, match=message):
        download.run(DownloadSettings(task=task))


def test_a_dry_run_says_what_would_be_fetched_and_writes_nothing(serve, tmp_path, caplog, capsys):
    caplog.set_level(logging.INFO)
    site = serve(archive())
    words = ["task.name=Toy", f"task.url={site.url}", f"data_root={tmp_path}/data", f"output_root={tmp_path}/out"]
    assert program.main(["download", *words, "dry_run=true"]) == 0
    assert (site.asked, os.listdir(tmp_path)) == ([], [])
    told = f"download: would fetch {site.url}, without a checksum (task.md5), and unpack it into {tmp_path}/data/Toy"
    assert caplog.messages == [told]
    assert program.main(["download", *words, "task.url=ftp://host/x.tar", "dry_run=true"]) == 2
    (tmp_path / "data/Toy").mkdir(parents=True)
    (tmp_path / "data/Toy/dataset.json").write_text("{}")
    assert program.main(["download", *words, "dry_run=true"]) == 0
    assert caplog.messages[-1] == f"download: {tmp_path}/data/Toy is there, nothing would be fetched"


def test_own_task_names_the_next_command(serve, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    task = TaskSettings(name="Toy", url=serve(archive(), answers=[drop]).url)
    download.run(DownloadSettings(task=task, data_root=str(tmp_path)))
    assert caplog.messages[-1] == (
        f"download: {tmp_path}/Toy is there (2 files, 0.1 MB); next:\n  the same command without the word download"
    )
    assert any(line.startswith("Toy: 61.4 of 61.4 kB (100 %)") for line in caplog.messages)


def test_data_root_with_a_space_is_quoted():
    settings = DownloadSettings(task=TaskSettings(name="Task09_Spleen"), data_root="/my data")
    assert download._next(settings) == "python -m segfw +task=Task09 'data_root=/my data'"
    assert download._next(DownloadSettings(task=TaskSettings(name="Task09_Spleen"))) == "python -m segfw +task=Task09"


def test_a_line_for_every_twentieth(caplog):
    caplog.set_level(logging.INFO)
    now = [0.0]
    report = download._lines("Toy", lambda: now[0])
    for done in range(0, 1001):
        now[0] += 0.01
        report(done * 10**6, 1000 * 10**6)
    assert len(caplog.messages) == 20
    assert caplog.messages[0] == "Toy: 50.0 of 1000.0 MB (5 %), 98.0 MB/s, 10 s left"
    assert caplog.messages[-1] == "Toy: 1000.0 of 1000.0 MB (100 %), 99.9 MB/s"


@pytest.mark.parametrize(
    ("size", "said"),
    [(512, "512 of 512 bytes (100 %)"), (1500, "1.5 of 1.5 kB (100 %)"), (10**5, "0.1 of 0.1 MB (100 %)")],
)
def test_small_files_are_told_in_small_units(caplog, size, said):
    caplog.set_level(logging.INFO)
    download._lines("Toy", lambda: 0.0)(size, size)
    assert caplog.messages == [f"Toy: {said}, 0.0 MB/s"]


def test_a_line_every_half_minute_when_slow_or_of_unknown_size(caplog):
    caplog.set_level(logging.INFO)
    now = [0.0]
    report = download._lines("Toy", lambda: now[0])
    for second in range(0, 91):
        now[0] = float(second)
        report(second * 10**6, None)
    assert caplog.messages == [f"Toy: {done}.0 MB, 1.0 MB/s" for done in (30, 60, 90)]


def test_a_bar_on_a_terminal(serve, tmp_path, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(download, "Console", lambda stderr: Console(file=screen, force_terminal=True, width=100))
    task = TaskSettings(name="Toy", url=serve(archive()).url)
    download.run(DownloadSettings(task=task, data_root=str(tmp_path)))
    assert re.search(r"Toy.*61\.4/61\.4.*kB", screen.getvalue())
