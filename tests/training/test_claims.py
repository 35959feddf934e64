"""Stand-ins for graphics cards: nobody ever holds what another holds, and the dead hold nothing."""

import os
import threading
import time

import pytest

from segfw.training import claims
from segfw.training.claims import claimed_card, visible_cards


@pytest.mark.parametrize(
    ("given", "names"),
    [(None, ("0", "1")), ("2,5", ("2", "5")), ("GPU-a, GPU-b", ("GPU-a", "GPU-b")), ("7", ("0", "1"))],
)
def test_cards_are_named_as_the_whole_computer_names_them(given, names, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_cards() == names


def test_each_card_is_held_once(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "POLL_SECONDS", 0.001)
    holders = {0: 0, 1: 0}
    seen, wrong = [], []
    start = threading.Barrier(6)

    def job():
        start.wait()
        for _ in range(5):
            with claimed_card(tmp_path, ("a", "b")) as card:
                holders[card] += 1
                if holders[card] != 1:
                    wrong.append(card)
                time.sleep(0.005)
                holders[card] -= 1
                seen.append(card)

    threads = [threading.Thread(target=job) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert len(seen) == 30
    assert set(seen) == {0, 1}
    assert list(tmp_path.iterdir()) == []


def test_the_second_gets_another_card_and_the_third_waits(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(claims, "POLL_SECONDS", 0.01)
    third = []

    def wait():
        with claimed_card(tmp_path, ("0", "1")) as card:
            third.append(card)

    with claimed_card(tmp_path, ("0", "1")) as first:
        with claimed_card(tmp_path, ("0", "1")) as second:
            thread = threading.Thread(target=wait)
            thread.start()
            time.sleep(0.1)
            assert (first, second, third) == (0, 1, [])
        thread.join(10)
    assert third == [1]
    assert caplog.messages == ["every graphics card (0, 1) is taken by another job; waiting"]


def test_the_card_of_a_process_that_died_is_free(tmp_path):
    child = os.fork()
    if child == 0:
        with claimed_card(tmp_path, ("0", "1")):
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert len(list(tmp_path.iterdir())) == 1
    with claimed_card(tmp_path, ("0", "1")) as card:
        assert card == 0


def test_a_process_that_sees_one_card_takes_no_other(tmp_path, monkeypatch):
    """Card 1 of the computer is number 0 of a process that sees nothing else."""
    with claimed_card(tmp_path, ("0", "1")), claimed_card(tmp_path, ("1",)) as own:
        assert own == 0
