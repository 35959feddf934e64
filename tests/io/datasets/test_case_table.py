"""Tables of cases: what spreadsheets write is read, and what cannot be meant is refused with its line."""

import pytest

from segfw.core.errors import DataError
from segfw.io.datasets.case_table import read_case_table


@pytest.mark.parametrize(
    "content",
    [
        "case,patient,site\na,p1,x\nb,p2,\n,\n,,,\n",
        "\ufeffcase;patient;site\r\na;p1;x\r\nb;p2;\r\n;;;\r\n",
        "patient\tcase\tsite\n p1\ta\tx\np2\tb\t",
        'site,patient,case\nx,p1,"a"\n"",p2,b\n\n',
    ],
)
def test_spreadsheets_of_all_countries_are_read(tmp_path, content):
    (tmp_path / "t.csv").write_text(content, encoding="utf-8", newline="")
    table = read_case_table(tmp_path / "t.csv")
    assert table == {"a": {"patient": "p1", "site": "x"}, "b": {"patient": "p2", "site": ""}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,patient\na,p1\n", r"must have a column 'case', got \['name', 'patient'\]"),
        ("", "t.csv is empty; its first row must name the columns"),
        ("case,p,p\na,1,2\n", "row 1: the column 'p' is there twice"),
        ("case,patient\na,p1,more\n", "t.csv, row 2: 3 cells, the header names 2 columns"),
        ("case,patient\na\n", "t.csv, row 2: 1 cells, the header names 2 columns"),
        ("case,patient\n,p1\n", "t.csv, row 2 names no case"),
        ("case,patient\na,p1\na,p2\n", r"row 3: case a has another row already, .*'p1'.*'p2'"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, content, message):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_case_table(tmp_path / "t.csv")


def test_a_row_may_be_there_twice(tmp_path):
    (tmp_path / "t.csv").write_text("case,patient\na,p1\na,p1\n")
    assert read_case_table(tmp_path / "t.csv") == {"a": {"patient": "p1"}}


def test_files_that_are_no_tables_are_named(tmp_path):
    with pytest.raises(DataError, match=r"t.csv cannot be read: No such file"):
        read_case_table(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(b"case\n\xff\xfe\n")
    with pytest.raises(DataError, match=r"t.csv is not UTF-8 text"):
        read_case_table(tmp_path / "t.csv")
