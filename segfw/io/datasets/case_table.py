"""Tables that say more of the cases than their images do, such as whose they are: CSV with a column `case`."""

from pathlib import Path

from segfw.core.errors import DataError
from segfw.io.datasets.tables import read_table

CASE = "case"


def read_case_table(path: Path) -> dict[str, dict[str, str]]:
    """Return case -> column -> text of a table, one of whose columns is `case`.

    Raises `DataError` as `read_table` does, for a table without the column or without a case's name in a row, and for
    a case with two rows that differ.
    """
    content = read_table(path, lambda column: column == CASE)
    if CASE not in content.columns:
        raise DataError(f"{path} must have a column {CASE!r}, got {list(content.columns)}")
    table: dict[str, dict[str, str]] = {}
    for number, row in content.rows:
        place = f"{path}, row {number}"
        entry = {column: text for column, text in row.items() if column != CASE}
        name = row[CASE]
        if not name:
            raise DataError(f"{place} names no case")
        if table.setdefault(name, entry) != entry:
            raise DataError(f"{place}: case {name} has another row already, and they differ: {table[name]} and {entry}")
    return table
