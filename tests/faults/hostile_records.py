"""Files that people and programs write beside images, with one value, key or byte of them that should not be there.

`RECORDS` maps a kind of file to the strategy of its texts and to the function that reads one: dataset.json and lists of
cases, splits_final.json, a plan, a model's model.yaml.
"""

import copy
import json
import math
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from hypothesis import strategies as st

from segfw.core.cases.dataset import Dataset
from segfw.core.errors import SegfwError
from segfw.core.planning.plan_yaml import plan_from_yaml, plan_to_yaml
from segfw.core.settings.schema import TaskSettings
from segfw.inference.bundle import load_bundle, save_bundle
from segfw.io.datasets.layouts import read_dataset
from segfw.stages.dataset.folds import read_splits
from tests.faults.hostile_images import damaged
from tests.inference.tiny_model import make_bundle, make_plan

# fmt: off
VALUES = (
    None, True, False, 0, 1, -1, 3, 2**31, -(2**63), 10**30, 0.5, -0.0, math.nan, math.inf, -math.inf, 1e308, 1e-320,
    "", " ", "x", "0", "-1", "1e400", "nan", "é\U0001f600", "a\nb", "a\0b", "../../x", "/etc/passwd", "a" * 5000, "~",
    "${x}", "$HOME/x", "%s", "a/b", "..", [], {}, [[]], [None], [0], [1, [2, [3]]], {"a": 1}, {"": None}, [{}],
    ["x"] * 500, [-1, 0, 1], [1, 1, 1], [10**9] * 3, [0.0, math.nan, 1.0], {"background": 0}, {"0": "CT"},
    {"a": [1, 1]},
)
JSON_TEXTS = (
    "", " ", "null", "1", '"x"', "[]", "{}", "{", "[" * 100_000, '{"a":' * 50_000, "\ufeff{}", "nan", "[NaN]",
    "1" * 5000, '{"labels": {"a": 1}, "labels": {"b": 1}}', '{"labels": ' + "9" * 5000 + "}", "\0", "{'a': 1}",
    '{"a": 1e999999}',
)
LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{after}: &{after} [{','.join([f'*{before}'] * 9)}]\n" for before, after in pairwise("abcdefghi")
)
YAML_TEXTS = (
    "", "null", "1", "[]", "{}", "{", "[" * 5_000, "- " * 2_000, "a: &a [*a]", "&a a: *a", "!!python/name:os.system x",
    "a: 1\na: 2", "%YAML 9.9\n---\n", "--- 1\n--- 2", "? [1, 2]\n: x", "\t", "\0", "a: !!binary x", "<<: 1",
    "a: 2026-13-45", "a: !!map 1", "a: !!map [1]", "a: !!seq 1", "a: !!set 1", "a: !!omap 1", "a: !!bool x",
    "a: !!bool [1]", "a: !!timestamp x", "a: !!int x", "a: !!int ''", "a: !!float x", "9" * 5000,
    LAUGHS, f"cases: {{a: &a {LAUGHS[5:].splitlines()[0][1:]}}}",
)
# fmt: on


@dataclass(frozen=True)
class Record:
    """A text, how it differs from a sound one, and the file it stands in."""

    name: str
    content: bytes
    how: str


def decathlon() -> dict[str, Any]:
    """Return a dataset.json as the Decathlon's."""
    listed = [{"image": f"./imagesTr/c{i}.nii.gz", "label": f"./labelsTr/c{i}.nii.gz"} for i in range(3)]
    return {"name": "Mine", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "tumor"}, "numTraining": 3,
            "licence": "x", "reference": "y", "training": listed}  # fmt: skip


def listed() -> dict[str, Any]:
    """Return a dataset.json of nnU-Net's that lists its files and has regions."""
    files = {f"c{i}": {"images": [f"a/c{i}.nii.gz", f"b/c{i}.nii.gz"], "label": f"l/c{i}.nii.gz"} for i in range(3)}
    return {"channel_names": {"0": "CT", "1": "noNorm"}, "labels": {"background": 0, "whole": [1, 2], "core": 2},
            "regions_class_order": [1, 2], "numTraining": 3, "file_ending": ".nii.gz", "dataset": files}  # fmt: skip


def cases() -> dict[str, Any]:
    """Return a YAML list of cases with a description."""
    files = [
        {"case": f"c{i}", "image": f"a/c{i}.nii.gz", "label": f"l/c{i}.nii.gz", "patient": f"p{i}"} for i in range(3)
    ]
    return {"channels": ["CT"], "labels": {"background": 0, "tumor": 1}, "cases": files}


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the places of everything in nested containers, the whole included."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(found for key, item in below for found in places(item, (*place, key)))]


@st.composite
def mutated(draw: st.DrawFn, make: Callable[[], Any]) -> tuple[Any, str]:
    """Draw a container in which one or two values are replaced, dropped, doubled or given another key."""
    value, changed = copy.deepcopy(make()), []
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from(places(value)))
        new = copy.deepcopy(draw(st.sampled_from(VALUES)))
        how = draw(st.sampled_from(["replace", "replace", "replace", "drop", "add", "rename"]))
        changed.append(f"{how} {place} {str(new)[:40]!r}")
        if not place:
            value = new if how == "replace" else value
            continue
        parent = value
        for key in place[:-1]:
            parent = parent[key]
        key = place[-1]
        if how == "replace":
            parent[key] = new
        elif how == "drop":
            del parent[key]
        elif isinstance(parent, list):
            parent.append(parent[key] if how == "add" else new)
        else:
            parent[str(new)[:300]] = parent[key] if how == "add" else parent.pop(key)
    return value, "; ".join(changed)


def record(
    name: str, make: Callable[[], Any], write: Callable[[Any], str], texts: tuple[str, ...]
) -> st.SearchStrategy:
    """Draw a file: a sound one's values changed, its bytes damaged, or a text that is none."""
    sound = write(make()).encode()
    return st.one_of(
        mutated(make).map(lambda drawn: Record(name, write(drawn[0]).encode("utf-8", "surrogatepass"), drawn[1])),
        damaged(sound).map(lambda content: Record(name, content, "bytes")),
        st.sampled_from(texts).map(lambda text: Record(name, text.encode(), f"text {text[:30]!r}")),
    )


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


@cache
def _plan() -> str:
    return plan_to_yaml(make_plan())


@cache
def _model() -> dict[str, bytes]:
    with TemporaryDirectory() as folder:
        save_bundle(Path(folder) / "m", make_bundle(make_plan()))
        return {file.name: file.read_bytes() for file in (Path(folder) / "m").iterdir()}


CSV = "case,image,label,patient\nc0,a/c0.nii.gz,l/c0.nii.gz,p0\nc1,a/c1.nii.gz,l/c1.nii.gz,p1\n"
# fmt: off
CSV_TEXTS = (
    "", "\n", "case\n", "case,image\n", "case,image\n../../x,a.nii.gz\n", "case,image\n/x,a.nii.gz\n", "image\n\0\n",
    'case,image\n"a\nb",a.nii.gz\n', "case,case,image\n", "image_,label\nx,y\n", '"', "case;image\n;x\n",
    "image\n" + "a" * 200_000 + ".nii.gz\n", "case,image,label\nc,x.nii.gz,../../../etc/passwd\n", "a,b,c\n1,2,3\n",
    "image\n" + "x.nii.gz\n" * 2000,
)
# fmt: on
TASK = TaskSettings(name="Mine", folder="Mine")
LISTED = TaskSettings(name="Mine", folder="Mine/cases.csv", labels={"background": 0, "tumor": 1}, modality="CT")


def read_record(kind: str, written: Record, folder: Path) -> object:
    """Write a record where its kind belongs, in an empty folder, and read it as the program does."""
    place = folder / "Mine"
    place.mkdir()
    if kind == "model":
        for name, content in _model().items():
            (place / name).write_bytes(content)
    (place / written.name).write_bytes(written.content)
    if kind == "splits":
        return read_splits(place / written.name)
    if kind == "plan":
        return plan_from_yaml(written.content.decode("utf-8", "replace"), str(place / written.name))
    if kind == "model":
        return load_bundle(place)
    task = TASK if kind.startswith("dataset") else TaskSettings(**{**vars(LISTED), "folder": f"Mine/{written.name}"})
    return read_dataset(task, folder)


def judge_record(kind: str, written: Record, folder: Path) -> tuple[str, str]:
    """Read a record; return `read`, `refused` by an error that names the file, or `bug`, and what is to be told."""
    try:
        found = read_record(kind, written, folder)
    except SegfwError as error:
        named = any(word in str(error) for word in (written.name, "Mine"))
        return ("refused" if named and len(str(error)) < 20_000 else "bug"), f"{str(error)[:500]!r}"
    except Exception:
        return "bug", traceback.format_exc()[-2000:]
    if isinstance(found, Dataset) and any("/" in case.name or case.name in ("", "..") for case in found.cases):
        return "bug", f"cases {[case.name for case in found.cases]}"
    return "read", ""


RECORDS: dict[str, st.SearchStrategy[Record]] = {
    "dataset (Decathlon)": record("dataset.json", decathlon, json.dumps, JSON_TEXTS),
    "dataset (listed)": record("dataset.json", listed, json.dumps, JSON_TEXTS),
    "cases (YAML)": record("cases.yaml", cases, _yaml, YAML_TEXTS),
    "cases (CSV)": st.one_of(
        damaged(CSV.encode()).map(lambda content: Record("cases.csv", content, "bytes")),
        st.sampled_from(CSV_TEXTS).map(lambda text: Record("cases.csv", text.encode(), f"text {text[:30]!r}")),
    ),
    "splits": record("splits.json", lambda: [{"train": ["a", "b"], "val": ["c"]}] * 2, json.dumps, JSON_TEXTS),
    "plan": record("plan.yaml", lambda: yaml.safe_load(_plan()), _yaml, YAML_TEXTS),
    "model": record("model.yaml", lambda: yaml.safe_load(_model()["model.yaml"]), _yaml, YAML_TEXTS),
}
