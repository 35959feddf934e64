"""A configuration with a planted case, path and host tells of none of them, and of everything else."""

import getpass
import platform

import pytest

from segfw.tracking.scrubbing import HIDDEN, scrub, scrub_text, scrub_words

CASES = ("ann_01", "bob")


def test_plain_settings_are_told_by_their_dotted_keys():
    config = {"optimizer": {"lr": 0.01, "name": "sgd"}, "seed": 3, "plan": {"patch_size": [8, 8]}, "pretrained": None}
    told = {"optimizer.lr": 0.01, "optimizer.name": "sgd", "seed": 3, "plan.patch_size": [8, 8], "pretrained": None}
    assert scrub(config, CASES) == told


def test_lists_of_cases_are_counted():
    config = {"train_cases": ["ann_01", "x"], "val_cases": ["bob"], "sampling": {"case_weights": {"bob": 2.0}}}
    assert scrub(config, CASES) == {"train_cases": 2, "val_cases": 1, "sampling.case_weights": 1}
    assert scrub({"sampling": {"case_weights": None}}, CASES) == {"sampling.case_weights": None}


def test_places_are_left_out():
    config = {"store": "store_1", "previous": {"folders": ["a"], "name": "3d_lowres"}, "task": {"folder": "Mine"}}
    assert scrub(config, CASES, ["task.folder"]) == {"previous.name": "3d_lowres"}


def test_what_looks_like_a_path_is_hidden_wherever_it_stands():
    config = {"callbacks": {"mine": {"folder": "/home/x", "windows": r"C:\data", "drive": "D:", "home": "~", "n": 1}}}
    hidden = {f"callbacks.mine.{key}": HIDDEN for key in ("folder", "windows", "drive", "home")}
    assert scrub(config, CASES) == {**hidden, "callbacks.mine.n": 1}
    assert scrub({"network": {"arguments": {"files": ["a/b", "c"]}}}, CASES) == {
        "network.arguments.files": [HIDDEN, "c"]
    }


def test_a_case_a_host_and_a_user_are_hidden_in_words_and_keys():
    host, user = platform.node(), getpass.getuser()
    config = {"a": "only ann_01", "b": f"on {host}", "c": f"by {user}", "d": {"bob": 1, "e": 2}, "f": [{"bob": 1}]}
    assert scrub(config, CASES) == {"a": HIDDEN, "b": HIDDEN, "c": HIDDEN, "d.e": 2, "f": [{}]}


def test_a_case_is_known_by_its_whole_name():
    assert scrub({"tag": "bobsled"}, CASES) == {"tag": "bobsled"}
    assert scrub({"tag": "bob-2 bob_3"}, CASES) == {"tag": HIDDEN}


def test_tags_that_tell_are_left_out():
    assert scrub_words(["baseline", "bob", "runs/mine", platform.node()], CASES) == ("baseline",)


@pytest.mark.parametrize("text", ["bob", "try bob 2", "runs/mine", platform.node(), getpass.getuser()])
def test_a_text_that_tells_is_hidden_as_a_whole(text):
    assert scrub_text(text, CASES) == HIDDEN


def test_a_text_that_tells_nothing_stays():
    assert scrub_text("bobsled 2", CASES) == "bobsled 2"
