"""`metrics.csv`: one row per epoch of a training."""

import csv
import io
import logging
import math
from pathlib import Path

from segfw.core.support.files import write_text

METRICS_FILE = "metrics.csv"
FIRST_COLUMNS = ("epoch", "lr", "train/loss", "val/loss", "val/patch_dice", "val/patch_dice_ema")
LAST_COLUMN = "seconds"

Row = dict[str, float]

log = logging.getLogger(__name__)


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a metrics file, without empty entries; none if there is no file or, said aloud, no table.

    A row without its epoch, or with fewer cells than the header, is left out: half a row that the file was cut at.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            if "epoch" not in (table.fieldnames or ()):
                raise ValueError("no column epoch")
            whole = [row for row in table if None not in row.values()]
        rows = [{key: float(text) for key, text in row.items() if text} for row in whole]
        return [row for row in rows if math.isfinite(row.get("epoch", math.nan))]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        log.warning("%s is damaged (%s): it is read as one without rows", path, error)
        return []


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write the rows at once; the columns are the known ones and, between them, whatever else the rows hold."""
    known = (*FIRST_COLUMNS, LAST_COLUMN)
    others = dict.fromkeys(key for row in rows for key in row if key not in known)
    text = io.StringIO()
    writer = csv.DictWriter(text, (*FIRST_COLUMNS, *others, LAST_COLUMN), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _text(key, value) for key, value in row.items()} for row in rows)
    write_text(path, text.getvalue())


def _text(key: str, value: float) -> str:
    if math.isnan(value):
        return ""
    return str(int(value)) if key == "epoch" else f"{value:.8g}"
