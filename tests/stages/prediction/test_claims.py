"""Who works on which case."""

import json
import logging
import os
import socket
import time

import pytest

from segfw.core.errors import ArtefactError
from segfw.core.support import locks
from segfw.stages.prediction.claims import CaseList, Claimed, Nothing
from segfw.stages.prediction.outputs import PredictionCase


def three_cases(folder):
    return [PredictionCase(name, (), folder / f"{name}.nii") for name in "abc"]


def finish(cases, claimed):
    claimed.case.target.write_text("done")
    cases.give_back(claimed.case.name)


def test_cases_are_given_in_order_and_once(tmp_path):
    cases = CaseList(three_cases(tmp_path))
    assert (cases.size, cases.skipped, cases.waiting) == (3, 0, ("a", "b", "c"))
    taken = [cases.take() for _ in range(3)]
    assert [claimed.case.name for claimed in taken] == ["a", "b", "c"]
    assert cases.take() is Nothing.LEFT
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.nii.lock", ".b.nii.lock", ".c.nii.lock"]
    finish(cases, taken[0])
    cases.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii"]


def test_cases_that_are_there_are_skipped(tmp_path):
    (tmp_path / "b.nii").write_text("there")
    cases = CaseList(three_cases(tmp_path))
    assert (cases.size, cases.skipped) == (2, 1)
    assert cases.waiting == ("a", "c")
    again = CaseList(three_cases(tmp_path), overwrite=True)
    assert (again.size, again.skipped) == (3, 0)


@pytest.mark.parametrize("overwrite", [False, True])
def test_commands_that_share_a_folder_share_the_cases(tmp_path, overwrite, caplog):
    if overwrite:
        for case in three_cases(tmp_path):
            case.target.write_text("old")
    mine, theirs = (CaseList(three_cases(tmp_path), overwrite) for _ in range(2))
    first, second, third = mine.take(), theirs.take(), mine.take()
    assert [claimed.case.name for claimed in (first, second, third)] == ["a", "b", "c"]
    with caplog.at_level(logging.INFO):
        assert theirs.take() is Nothing.YET
        assert theirs.take() is Nothing.YET
    assert caplog.text.count(f"process {os.getpid()} on {socket.gethostname()}") == 1
    replaced = first.case.target.with_name("new")  # as files are written: aside, then renamed
    replaced.write_text("new")
    replaced.rename(first.case.target)
    mine.give_back("a")
    mine.give_back("c")  # failed there
    again = theirs.take()
    assert isinstance(again, Claimed)
    assert again.case.name == "c"
    assert theirs.take() is Nothing.LEFT
    assert theirs.skipped == 1
    assert mine.take() is Nothing.YET
    theirs.give_back("b")
    assert mine.take().case.name == "b"


def test_what_a_killed_command_had_is_free_again(tmp_path):
    case = three_cases(tmp_path)[0]
    lock = tmp_path / ".a.nii.lock"
    here = {"host": socket.gethostname(), "processes": locks._processes()}
    lock.write_text(json.dumps({"token": "x", **here, "pid": 2**22 + 1, "started": "1"}))
    (tmp_path / ".tmp-01234567-a.nii").write_text("half")
    (tmp_path / ".tmp-01234567-other.nii").write_text("of somebody else")
    cases = CaseList([case])
    claimed = cases.take()
    assert isinstance(claimed, Claimed)
    claimed.lock.check()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.nii.lock", ".tmp-01234567-other.nii"]


def test_one_half_file_does_not_make_every_case_search_the_folder(tmp_path, monkeypatch):
    (tmp_path / ".tmp-01234567-b.nii").write_text("half")
    searched = []
    monkeypatch.setattr("segfw.stages.prediction.claims.remove_remains", searched.append)
    cases = CaseList(three_cases(tmp_path))
    while isinstance(claimed := cases.take(), Claimed):
        finish(cases, claimed)
    assert searched == [tmp_path / "b.nii"]


def test_a_lock_of_another_computer_has_to_expire(tmp_path):
    case = three_cases(tmp_path)[0]
    lock = tmp_path / ".a.nii.lock"
    lock.write_text(json.dumps({"token": "x", "host": "elsewhere", "pid": 1, "started": "1"}))
    cases = CaseList([case])
    assert cases.take() is Nothing.YET
    (tmp_path / ".tmp-01234567-a.nii").write_text("half")  # which was not there when the list was made
    os.utime(lock, (time.time() - 121,) * 2)
    assert isinstance(cases.take(), Claimed)
    assert [path.name for path in tmp_path.iterdir()] == [lock.name]


def test_a_claim_that_was_lost_says_so(tmp_path):
    cases = CaseList(three_cases(tmp_path))
    claimed = cases.take()
    claimed.lock.path.write_text(json.dumps({"token": "y", "host": "elsewhere", "pid": 7}))
    with pytest.raises(ArtefactError, match=r"lost the lock .* process 7 on elsewhere took it"):
        claimed.lock.check()


def test_an_interrupted_case_leaves_nothing(tmp_path):
    with_map = PredictionCase("a", (), tmp_path / "a.nii", {"map": tmp_path / "a_map.nii"})
    cases = CaseList([with_map])
    cases.take()
    for name in (".tmp-01234567-a.nii", ".tmp-89abcdef-a_map.nii"):
        (tmp_path / name).write_text("half")
    cases.close()
    assert not list(tmp_path.iterdir())
