"""The tables of docs/accuracy.md, computed from the committed figures of single cases."""

import csv
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
CASES, RUNS, CURVES = (RESULTS / f"accuracy_{name}.csv" for name in ("cases", "runs", "curves"))
FIVE_FOLDS = "hippocampus_five_folds"


def load(table: Path) -> list[dict[str, str]]:
    """Return the lines of a table; none without a file."""
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_page() -> None:
    """To come."""
