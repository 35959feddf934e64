"""Whatever stands in dataset.json, a list of cases, splits, a plan or model.yaml is sane or refused by name.

`python -m scripts.fuzz records` draws from the same strategies at length.
"""

import json

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from segfw.core.errors import DataError, UsageError
from tests.faults.hostile_records import (
    CSV,
    LAUGHS,
    RECORDS,
    Record,
    cases,
    decathlon,
    judge_record,
    listed,
    read_record,
)

few = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("kind", RECORDS)
def test_damaged_records_are_read_or_refused(tmp_path_factory, kind):
    @few
    @given(RECORDS[kind])
    def each(written):
        outcome, told = judge_record(kind, written, tmp_path_factory.mktemp("record"))
        assert outcome in ("read", "refused"), (written.how, told)

    each()


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        ("dataset (Decathlon)", "dataset.json", json.dumps(decathlon())),
        ("dataset (listed)", "dataset.json", json.dumps(listed())),
        ("cases (YAML)", "cases.yaml", yaml.safe_dump(cases())),
        ("cases (CSV)", "cases.csv", CSV),
    ],
)
def test_what_is_damaged_there_was_sound(tmp_path, kind, name, text):
    assert judge_record(kind, Record(name, text.encode(), "sound"), tmp_path) == ("read", "")


@pytest.mark.parametrize(
    ("kind", "name", "text", "message"),
    [
        ("dataset (listed)", "dataset.json", '{"labels": {}, "labels": {}}', "dataset.json .* 'labels' is given twice"),
        ("dataset (listed)", "dataset.json", "[" * 10**5, "dataset.json is not valid JSON: .*nested too deeply"),
        ("splits", "splits.json", "[" * 10**5, "splits.json cannot be read as JSON: .*nested too deeply"),
        ("cases (YAML)", "cases.yaml", "[" * 10**4, "cases.yaml is not valid YAML: .*nested too deeply"),
        ("cases (YAML)", "cases.yaml", LAUGHS, "cases.yaml is not valid YAML: .*more than 5000000 values"),
        ("plan", "plan.yaml", LAUGHS, "plan.yaml is no YAML: .*more than 200000 values"),
        (
            "cases (CSV)",
            "cases.csv",
            "case,image\n../x,a.nii\n",
            r"cases.csv: case '\.\./x': .* without slash",
        ),
    ],
)
def test_what_is_refused_of_a_file_is_said_with_its_name(tmp_path, kind, name, text, message):
    with pytest.raises((DataError, UsageError), match=message):
        read_record(kind, Record(name, text.encode(), ""), tmp_path)
