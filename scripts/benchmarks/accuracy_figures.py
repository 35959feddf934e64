"""The committed figures of single cases and trainings, and what every table takes of them."""

import csv
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
CASES, RUNS, CURVES = (RESULTS / f"accuracy_{name}.csv" for name in ("cases", "runs", "curves"))
Line = dict[str, str]


def load(table: Path) -> list[Line]:
    """Return the lines of a table; none without a file."""
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_table(table: Path, lines: Sequence[Mapping[str, object]]) -> None:
    """Write the lines of a table; the first one names the columns."""
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def mean(lines: Iterable[Line], column: str) -> float | None:
    """Return the mean of a column over the lines where it is defined; None where it never is."""
    values = [float(line[column]) for line in lines if line.get(column)]
    return statistics.fmean(values) if values else None


def shown(value: float | None, digits: int = 4) -> str:
    """Return a number as tables show it."""
    return "-" if value is None else f"{value:.{digits}f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def lines_of(table: Path, row: str, **equal: str) -> list[Line]:
    """Return the lines of a row; `equal`: columns that must have these texts."""
    return [
        line for line in load(table) if line["row"] == row and all(line[key] == text for key, text in equal.items())
    ]


def dice_of(row: str, **equal: str) -> float | None:
    """Return the mean Dice of a row over cases, labels, seeds and folds; None of a row that was not run."""
    return mean(lines_of(CASES, row, **equal), "dice")
