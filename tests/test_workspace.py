"""Artefacts know whether their inputs changed and whether a person edited them."""

import pytest

from segfw.core.errors import ArtefactError
from segfw.workspace import (
    State,
    Workspace,
    digest,
    load_json,
    load_yaml,
    read_artefact,
    save_artefact,
    standing,
    to_yaml,
)


def test_fresh_stale_edited_missing(tmp_path):
    path = tmp_path / "a.yaml"
    assert standing(path, {"x": "1"}).state is State.MISSING
    save_artefact(path, "value: 1", {"x": "1", "y": "1"})
    assert standing(path, {"x": "1", "y": "1"}).state is State.FRESH
    stale = standing(path, {"x": "2", "y": "1"})
    assert (stale.state, stale.why) == (State.STALE, "x changed since")
    path.write_text(path.read_text().replace("value: 1", "value: 2"))
    edited = standing(path, {"x": "1", "y": "1"})
    assert (edited.state, edited.why) == (State.EDITED, "")
    assert standing(path, {"x": "1", "y": "2"}).why == "y changed since"
    assert load_yaml(path) == {"value": 2}


def test_a_file_without_a_record_was_made_by_hand(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("value: 1\n")
    assert standing(path, {}).state is State.EDITED
    assert read_artefact(path) == "value: 1\n"


def test_a_missing_or_broken_artefact_is_named(tmp_path):
    with pytest.raises(ArtefactError, match=r"nowhere.yaml is missing"):
        load_yaml(tmp_path / "nowhere.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1\n")
    with pytest.raises(ArtefactError, match=r"bad.yaml is not valid YAML"):
        load_yaml(tmp_path / "bad.yaml")


def test_digest_sees_every_part():
    assert digest({"a": 1, "b": (1, 2)}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_yaml_keeps_order_and_inner_lists_on_one_line():
    assert to_yaml({"b": {"x": [1, 2]}, "a": 1.5}, "why") == "# why\nb:\n  x: [1, 2]\na: 1.5\n"


def test_paths_follow_the_contract(tmp_path):
    workspace = Workspace(tmp_path)
    run = workspace.run("main", "default", "planned", "3d_fullres", 0)
    assert workspace.relative(run) == "runs/main/default/planned/3d_fullres/fold_0"
    assert workspace.relative(workspace.model("main")) == "models/main"
    assert workspace.relative(workspace.report) == "report/index.html"


@pytest.mark.parametrize("text", ["[" * 10**5, "- " * 10**5, '{"a":' * 10**5])
def test_nesting_that_would_end_the_process_is_refused(tmp_path, text):
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(ArtefactError, match=r"plan.yaml is not valid YAML: .*nested more than 100 deep"):
        load_yaml(tmp_path / "plan.yaml")


@pytest.mark.parametrize(
    "text", ["\x85", "𝄞 😀", "\u2028", "\x07", "a: b # c", " x", "two\nlines\n", "yes", "1:30", "-", ""]
)
def test_any_text_comes_back_from_yaml(text, tmp_path):
    (tmp_path / "value.yaml").write_text(to_yaml({"value": text, text: [[text], {"k": text}]}), encoding="utf-8")
    assert load_yaml(tmp_path / "value.yaml") == {"value": text, text: [[text], {"k": text}]}


def test_json_that_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(ArtefactError, match=r"metrics\.json is missing"):
        load_json(tmp_path / "metrics.json")
    (tmp_path / "metrics.json").write_text('{"a": 1')
    with pytest.raises(ArtefactError, match=r"metrics\.json is not valid JSON: .*column 8"):
        load_json(tmp_path / "metrics.json")
