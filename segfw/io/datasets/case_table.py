"""Tables that say more of the cases than their images do, such as whose they are: CSV with a column `case`."""

import csv
from pathlib import Path

from segfw.core.errors import DataError, UsageError

CASE = "case"
DELIMITERS = ",;\t"


def read_case_table(path: Path) -> dict[str, dict[str, str]]:
    """Return case -> column -> text of a CSV file whose first line names its columns, one of them `case`.

    Its fields are separated by what the first line holds most of: commas, semicolons or tabs. `UsageError` where there
    is no such file; `DataError` for one that cannot be read, without the column or without a case's name in a row,
    with a field too many, and for a case with two rows that differ.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"there is no table {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text (UTF-8): {error}") from error
    lines = text.splitlines(keepends=True)
    delimiter = max(DELIMITERS, key=lines[0].count) if lines else ","
    rows = csv.DictReader(lines, delimiter=delimiter, restval="")
    columns = [name.strip() for name in rows.fieldnames or ()]
    if CASE not in columns or len(set(columns)) < len(columns):
        raise DataError(f"{path} must have one column {CASE!r} and no name twice in its first line, got {columns}")
    rows.fieldnames = columns
    table: dict[str, dict[str, str]] = {}
    try:
        for row in rows:
            _add(table, row, f"{path}, line {rows.line_num}")
    except csv.Error as error:
        raise DataError(f"{path}, line {rows.line_num}: {error}") from error
    return table


def _add(table: dict[str, dict[str, str]], row: dict[str, str], place: str) -> None:
    extra = row.pop(None, None)  # type: ignore[call-overload]  # where csv puts the fields that have no column
    if extra:
        raise DataError(f"{place} has more fields than the first line names columns: {extra}")
    entry = {column: value.strip() for column, value in row.items()}
    name = entry.pop(CASE)
    if not name:
        raise DataError(f"{place} names no case")
    if table.setdefault(name, entry) != entry:
        raise DataError(f"{place}: case {name} has another row already, and they differ: {table[name]} and {entry}")
