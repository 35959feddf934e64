"""Tables and pictures in the forms that trackers without types of their own for them take: Markdown, JSON, PNG."""

import io
import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.image import imsave

from segfw.tracking.trackers import Cell, Picture


def to_markdown(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a table as Markdown; what is missing or no number is left empty, a path is shown by its name."""
    head, *body = ([_written(cell) for cell in row] for row in (columns, *rows))
    lines = [head, ["---"] * len(columns), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_json(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a table as JSON, `{"columns": [...], "data": [[...], ...]}`; what is no number becomes null."""
    data = [[_plain(cell) for cell in row] for row in rows]
    return json.dumps({"columns": list(columns), "data": data}, indent=1, ensure_ascii=False)


def pairs_to_markdown(pairs: Mapping[str, object]) -> str:
    """Return settings as a Markdown table of keys and values."""
    return to_markdown(("key", "value"), [(key, to_text(value)) for key, value in pairs.items()])


def to_text(value: object) -> str:
    """Return text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def to_png_bytes(picture: Picture, caption: str = "") -> bytes:
    """Return a picture as a PNG file, which carries the caption as its description."""
    buffer = io.BytesIO()
    imsave(buffer, picture, format="png", metadata={"Description": caption} if caption else None)
    return buffer.getvalue()


def png_size(content: bytes) -> tuple[int, int]:
    """Return height and width, which a PNG file begins with."""
    width, height = struct.unpack(">II", content[16:24])
    return height, width


def _written(cell: Cell) -> str:
    plain = _plain(cell)
    if plain is None:
        return ""
    text = f"{plain:.6g}" if isinstance(plain, float) else str(plain)
    return text.replace("|", r"\|").replace("\n", " ")


def _plain(cell: Cell) -> str | float | int | None:
    if isinstance(cell, Path):
        return cell.name
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell
