"""Lists of files: what spreadsheets and people write, what is wrong with it, and laws of writing and reading back."""

import csv
import io
import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from segfw.core.cases.dataset import Case, Dataset, Window
from segfw.core.cases.description import Description, stated_labels
from segfw.core.errors import DataError
from segfw.core.labels import LabelSet
from segfw.core.settings.schema import TaskSettings
from segfw.io.datasets.file_list import read_file_list, write_file_list, write_task_list
from segfw.io.datasets.layouts import read_dataset

ODD = st.sampled_from("aZ0 ,;'\"#:-_.é中🫀|[]{}&*!%@`=~<>?")
ANY = st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters="/\\")
TEXT = st.text(ODD | ANY, min_size=1, max_size=12).filter(lambda t: t == t.strip() and t not in (".", ".."))
LAWS = settings(
    max_examples=50, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)


ONE_TO_THREE = st.integers(1, 3)


def cases(num_files=ONE_TO_THREE):
    """Draw lists of cases with equally many files, absolute paths and the same columns."""

    def with_shape(shape):
        count, columns = shape
        path = st.lists(TEXT, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
        case = st.builds(
            Case,
            name=TEXT,
            images=st.lists(path, min_size=count, max_size=count).map(tuple),
            label=st.none() | path,
            table=st.fixed_dictionaries({column: TEXT | st.just("") for column in columns}),
        )
        return st.lists(case, min_size=1, max_size=4, unique_by=lambda one: one.name)

    columns = st.lists(TEXT, max_size=2, unique=True).map(
        lambda names: [n for n in names if n not in ("case", "label") and not n.startswith("image")]
    )
    return st.tuples(num_files, columns).flatmap(with_shape)


def read(tmp_path, text, name="list.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_file_list(path)


@LAWS
@given(cases())
def test_a_table_gives_back_what_was_written(tmp_path, written):
    path = tmp_path / "list.csv"
    write_file_list(path, written)
    assert read_file_list(path).cases == tuple(written)
    assert read_file_list(path).channel_names == ()


@LAWS
@given(cases(st.just(2)), st.tuples(TEXT, TEXT).map(lambda names: (names[0] + "x", names[1] + "y")))
def test_columns_give_back_the_names_of_channels(tmp_path, written, names):
    path = tmp_path / "list.csv"
    write_file_list(path, written, names)
    assert read_file_list(path).channel_names == tuple(names)


def datasets():
    declared = st.sampled_from(
        [
            ({"labels": {"background": 0, "a": 1, "b": 2}}, {}),
            ({"labels": {"background": 0, "a": 1, "b": 4, "ignore": 255}}, {4: 2, 255: 3}),
            ({"labels": {"background": 0, "a": 2, "b": 1}}, {1: 2, 2: 1, 7: 0}),
            ({"labels": {"background": 255, "a": 0}}, {255: 0, 0: 1}),
            ({"labels": {"background": 0, "whole": [1, 2, 4], "core": [4]}, "regions_class_order": [1, 4]}, {4: 1}),
            ({"regions": {"whole": [1, 2, 4], "core": [1, 4], "inner": 4}}, {4: 3, 9: 0}),
        ]
    )

    def build(given_cases, stated, number, window, schemes):
        labels, remap = stated_labels(Description(TaskSettings(remap=stated[1]), stated[0], "f"))
        return Dataset(
            "Toy", ("CT", "001"), labels, number, tuple(given_cases), ".mha", "CC: 0", "#x", remap, schemes, window
        )

    window = st.none() | st.builds(Window, st.floats(-100, 100), st.floats(1, 100))
    schemes = st.sampled_from([(), (None, "nonorm")])
    return st.builds(build, cases(st.just(2)), declared, st.integers(1, 9), window, schemes)


@LAWS
@given(datasets())
def test_a_task_list_gives_back_the_dataset(tmp_path, written):
    path = tmp_path / "list.yaml"
    written = replace(written, cases=tuple(c for c in written.cases if not {"image", "images"} & set(c.table)))
    write_task_list(path, written)
    assert read_dataset(TaskSettings(name="Toy", folder=str(path)), Path("/")) == written


@pytest.mark.parametrize(
    ("stated", "remap"),
    [
        ({"background": 0, "tumor": 255}, {255: 1}),
        ({"background": 255, "tumor": 0}, {255: 0, 0: 1}),
        ({"background": 0, "tumor": 2, "liver": 1}, {1: 2, 2: 1, 7: 0}),
        ({"background": 0, "whole": [7, 9], "tumor": 9}, {7: 1, 9: 2, 3: 0}),
    ],
)
def test_label_values_are_written_as_they_are_in_the_files(tmp_path, stated, remap):
    description = Description(TaskSettings(), {"regions" if "whole" in stated else "labels": stated}, "f")
    labels, _ = stated_labels(replace(description, task=TaskSettings(remap=remap)))
    write_task_list(tmp_path / "list.yaml", Dataset("Toy", ("CT",), labels, 1, (Case("a", ("b",)),), remap=remap))
    text = (tmp_path / "list.yaml").read_text()
    assert text.startswith("# What the dataset is, and its files; label values are those in the files; remap")
    assert yaml.safe_load(text)["labels"] == stated


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_what_spreadsheets_write_is_read(tmp_path, delimiter, mark):
    rows = [
        ["case", "image", "label", "site"],
        ["a", "a.nii.gz", "m/a.nii.gz", "x, y; z"],
        [""] * 4,
        ["b", "/b", "", ""],
    ]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    found = read(tmp_path, mark + text.getvalue().encode() + b"\r\n")
    a = Case("a", (str(tmp_path / "a.nii.gz"),), str(tmp_path / "m/a.nii.gz"), {"site": "x, y; z"})
    assert found.cases == (a, Case("b", ("/b",), None, {"site": ""}))


def test_names_come_from_the_first_image(tmp_path):
    found = read(tmp_path, "image\na_0000.nii.gz\nseries/1/\nb_0001.png\nx.unknown\n")
    assert [case.name for case in found.cases] == ["a", "1", "b_0001", "x.unknown"]


def test_blanks_around_cells_and_empty_columns_do_not_count(tmp_path):
    found = read(tmp_path, 'case, image , label,,\na , "a, 1.mha", b.mha,,\n')
    assert found.cases == (Case("a", (str(tmp_path / "a, 1.mha"),), str(tmp_path / "b.mha")),)


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("image_T1,image_T2", ("T1", "T2")),
        ("image_0,image_1", ()),
        ("image,image_T2", ()),
        ("image1,image2", ()),
    ],
)
def test_columns_that_begin_with_image_are_channels_in_order(tmp_path, header, names):
    found = read(tmp_path, f"case,{header}\nx,b,a\n")
    assert found.cases[0].images == (str(tmp_path / "b"), str(tmp_path / "a"))
    assert found.channel_names == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; its first row must name the columns"),
        ("case,label\na,b\n", r"there is no column image .* only \['case', 'label'\]"),
        ("image,label\n\n", "lists no case"),
        ("image,label\na,b\n,c\n", "row 3, column image: no file is named"),
        ("image_a,image_b\na,\n", "row 2, column image_b: no file is named"),
        ("image,label\na,b\n\nc,d,e\n", "row 4: 3 cells, the header names 2 columns"),
        ("image,label\na\n", "row 2: 1 cells, the header names 2 columns"),
        ("image,label,image\n", "row 1: the column 'image' is there twice"),
        ("image,,label\n", "row 1: column 2 has no name"),
        ("image,lable\na,b\n", r"csv: column 'lable' means nothing, did you mean 'label'\? .* another name, own_lable"),
        ("Case,image,label\na,b,c\n", "'Case' means nothing, did you mean 'case'"),
        ("case,image\na,1\na,2\n", "rows 2 and 3: both are called 'a'$"),
        ("image\n1/ct.nii\n2/ct.nii\n", "rows 2 and 3: both are called 'ct' .*name the cases in a column case"),
        ('image,label\na,"b\n', "row 2: this is no table"),
        (b"image\n\xff\n", r"is not UTF-8 text \(byte 6\)"),
    ],
)
def test_wrong_tables_are_explained(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


def test_yaml_cases_are_text(tmp_path):
    text = """
cases:
  007: {image: 1.nii, label: 1e3, site: 010, by: no}
  yes: {images: [a, b]}
  x: {image: c, label: null}
channels: [A, B]
"""
    found = read(tmp_path, text, "list.yml")
    assert found.cases == (
        Case("007", (str(tmp_path / "1.nii"),), str(tmp_path / "1e3"), {"site": "010", "by": "no"}),
        Case("yes", (str(tmp_path / "a"), str(tmp_path / "b"))),
        Case("x", (str(tmp_path / "c"),)),
    )
    assert found.description == {"channels": ["A", "B"]}


def test_yaml_may_be_a_plain_list(tmp_path):
    found = read(tmp_path, "- {image: a_0000.nii.gz, label: b}\n- {case: x, images: [c], patient: 3}\n", "list.yaml")
    assert [case.name for case in found.cases] == ["a", "x"]
    assert found.cases[1].table == {"patient": "3"}
    assert found.description is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"list.yaml must map names to .* got None"),
        ("cases: {}", "lists no case"),
        ("case: {a: {image: b}}", "unknown key 'case', did you mean 'cases'"),
        ("channel_name: [CT]\ncases: {a: {image: b}}", "unknown key 'channel_name', did you mean 'channel_names'"),
        ("cases: 3", r"list.yaml: cases must map names .* got '3'"),
        ("cases: {a: b}", r"cases\.a must be \{image: ..., label: ...\}, got 'b'"),
        ("cases: {a: {label: b}}", r"cases\.a needs image: FILE or images"),
        ("cases: {a: {image: b, images: [c]}}", r"cases\.a needs image: FILE or images"),
        ("cases: {a: {image: ''}}", r"cases\.a needs image: FILE or images"),
        ("cases: {a: {images: [b, [c]]}}", r"cases\.a needs image: FILE or images"),
        ("cases: {a: {image: b, label: [c]}}", r"cases\.a\.label must be one word, number or path, got \['c'\]"),
        ("cases: {a: {image: b, case: c}}", r"cases\.a is named 'a' already"),
        ("- {image: a}\n- {label: b}", r"list\.yaml\[2\] needs image"),
        ("cases:\n a: {image: b}\n a: {image: c}", r"(?s)the key 'a' is given twice.*line 3, column 2"),
        ("cases: {a: {image: b, LABEL: c}}", r"cases\.a: column 'LABEL' means nothing, did you mean 'label'"),
        ("- {image: a, cases: b}", r"yaml\[1\]: column 'cases' means nothing, did you mean 'case'"),
        ("cases: [", "is not valid YAML"),
        ("!!python/object/apply:os.system [ls]", "is not valid YAML"),
    ],
)
def test_wrong_yaml_is_explained(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, text, "list.yaml")


@pytest.mark.parametrize("word", ["age", "race", "phase", "stage", "site", "level", "table", "date", "own_lable"])
def test_a_word_of_ones_own_is_free(tmp_path, word):
    assert read(tmp_path, f"image,{word}\na,7\n").cases[0].table == {word: "7"}
    assert read(tmp_path, f"- {{image: a, {word}: 7}}", "list.yaml").cases[0].table == {word: "7"}


def test_nothing_is_misspelt_where_it_is_there_itself(tmp_path):
    assert read(tmp_path, "case,image,label,labels,cause\na,b,c,d,e\n").cases[0].table == {"labels": "d", "cause": "e"}
    assert read(tmp_path, "cases: {a: {image: b, cause: c}}", "list.yaml").cases[0].table == {"cause": "c"}


def test_what_would_not_be_read_back_is_not_written(tmp_path):
    path = tmp_path / "list.csv"
    with pytest.raises(DataError, match=r"same number of image files, got \[1, 2\]"):
        write_file_list(path, [Case("a", ("x",)), Case("b", ("x", "y"))])
    with pytest.raises(DataError, match="cannot be called 'image_id'"):
        write_file_list(path, [Case("a", ("x",), table={"image_id": "3"})])
    with pytest.raises(DataError, match=r"cannot hold 'x\\ny' \(case a\)"):
        write_file_list(path, [Case("a", ("x",), table={"note": "x\ny"})])
    dataset = Dataset("Toy", ("CT",), LabelSet({"background": 0, "x": 1}), 1, (Case("a", ("b",)),))
    with pytest.raises(DataError, match=r"no value in the files becomes 1: remap \{1: 2\}"):
        write_task_list(path, replace(dataset, remap={1: 2}))
    with pytest.raises(DataError, match="case a: a column of the table cannot be called 'image'"):
        write_task_list(path, replace(dataset, cases=(Case("a", ("b",), table={"image": "c"}),)))
    with pytest.raises(DataError, match="case a: column 'labels' means nothing, did you mean 'label'"):
        write_task_list(path, replace(dataset, cases=(Case("a", ("b",), table={"labels": "c"}),)))
    assert not path.exists()


def test_relative_paths_are_written_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_file_list(Path("list.csv"), [Case("a", ("x/b.nii",), "c.nii")])
    assert read_file_list(Path("list.csv")).cases[0].images == (os.path.join(tmp_path, "x/b.nii"),)


def test_a_column_such_as_image_id_is_free(tmp_path):
    (tmp_path / "scan").mkdir()
    (tmp_path / "list.csv").write_text(
        "case,image_id,image_ct,image_pet,image_mr,label\na,17,a.nii.gz,scan,x/y,\nb,18,b.nii.gz,gone,z,\n,,,,,\n,\n"
    )
    found = read_file_list(tmp_path / "list.csv")
    assert found.channel_names == ("ct", "pet", "mr")
    assert [case.table for case in found.cases] == [{"image_id": "17"}, {"image_id": "18"}]
    assert found.cases[1].images == tuple(str(tmp_path / name) for name in ("b.nii.gz", "gone", "z"))


def test_columns_of_names_that_are_not_there_are_channels_where_there_are_no_others(tmp_path):
    (tmp_path / "list.csv").write_text("image_ct,image_pet\na,b\n")
    assert read_file_list(tmp_path / "list.csv").channel_names == ("ct", "pet")
