"""Every file and every function that docs/design.md names is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
FILE = re.compile(r"\bsegfw/[\w/]+\.py\b")
NAMED = re.compile(r"`(segfw/[\w/]+\.py): ([\w.]+)`")


@cache
def names_in(path: Path) -> frozenset[str]:
    """Return what a module defines at its top level, and the methods of its classes as Class.method."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {each.id for each in targets if isinstance(each, ast.Name)}
    return frozenset(found)


def test_every_file_is_there() -> None:
    named = set(FILE.findall(PAGE))
    assert {path for path in named if not (ROOT / path).is_file()} == set()
    assert len(named) > 20


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED.findall(PAGE))))
def test_every_function_is_there(path: str, name: str) -> None:
    assert name in names_in(ROOT / path)


def test_each_step_of_a_flow_names_a_function() -> None:
    flows = PAGE[PAGE.index("## How a case flows") : PAGE.index("## Decisions")]
    steps = re.findall(r"^\d+\. .*(?:\n   .*)*", flows, re.MULTILINE)
    assert len(steps) == 15 + 9
    assert [step for step in steps if not NAMED.search(step)] == []


def test_names_of_a_module_are_found(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("LIMIT = 3\nTABLE: dict = {}\nclass A:\n    def go(self): ...\ndef run():\n    def inner(): ...\n")
    assert names_in(path) == {"LIMIT", "TABLE", "A", "A.go", "run"}
