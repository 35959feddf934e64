"""Tables that people keep in spreadsheets: CSV with commas, semicolons or tabs, with or without a byte order mark."""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from segfw.core.errors import DataError
from segfw.core.support.addresses import is_address

DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class Table:
    """Columns in their order and rows `(number, column -> text)`; the header is row 1, as a spreadsheet counts."""

    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]


def read_table(path: Path, known: Callable[[str], bool]) -> Table:
    """Read a table; empty rows are left out, blanks around a cell's text dropped.

    The delimiter is the one that gives the header most columns that are `known`. Raises `DataError` naming the row
    for text that is not UTF-8 or no table, columns without a name or named twice, and rows of another length.
    """
    text = _text(path)
    delimiter = max(DELIMITERS, key=lambda choice: _score(text, choice, known))
    numbered = _cells(path, text, delimiter)
    if not numbered:
        raise DataError(f"{path} is empty; its first row must name the columns")
    (_, header), *rows = numbered
    columns = tuple(header)
    if "" in columns:
        raise DataError(f"{path}, row {numbered[0][0]}: column {columns.index('') + 1} has no name")
    twice = [column for i, column in enumerate(columns) if column in columns[:i]]
    if twice:
        raise DataError(f"{path}, row {numbered[0][0]}: the column {twice[0]!r} is there twice")
    for number, cells in rows:
        if len(cells) != len(columns):
            raise DataError(f"{path}, row {number}: {len(cells)} cells, the header names {len(columns)} columns")
    return Table(columns, tuple((number, dict(zip(columns, cells, strict=True))) for number, cells in rows))


def beside(table: Path, text: str) -> str:
    """Return the file that a cell names: an address as it is, a path relative to the table's folder."""
    return text if is_address(text) else str(table.parent / text)


def table_text(columns: list[str], rows: list[list[str]]) -> str:
    """Return a table as CSV with commas."""
    target = io.StringIO(newline="")
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return target.getvalue()


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}); save it as CSV UTF-8") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _score(text: str, delimiter: str, known: Callable[[str], bool]) -> tuple[int, int]:
    """Return how many columns the header has that are known, and in all, if it is read with `delimiter`."""
    try:
        header = next((row for row in _rows(text, delimiter) if any(row)), [])
    except csv.Error:
        return (-1, 0)
    whole = [column for column in header if not any(other in column for other in DELIMITERS)]
    return (sum(known(column) for column in whole), len(header))


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    return ([cell.strip() for cell in row] for row in reader)


def _cells(path: Path, text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """Return (row number, cells) of every row that is not empty; empty cells beyond the header's last are cut off."""
    numbered: list[tuple[int, list[str]]] = []
    number = width = 0
    try:
        for number, cells in enumerate(_rows(text, delimiter), 1):
            while len(cells) > width and not cells[-1]:
                cells.pop()
            width = width or len(cells)
            if any(cells):
                numbered.append((number, cells))
    except csv.Error as error:
        raise DataError(f"{path}, row {number + 1}: this is no table ({error})") from error
    return numbered
