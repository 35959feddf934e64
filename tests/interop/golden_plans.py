"""Plans files that nnU-Net wrote, with what it planned them from, and edited copies of them."""

import json
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden" / "plans"
CASE = GOLDEN / "case038"  # regions, a cascade


def edited(folder, change, source=CASE / "plans_default.json"):
    """Copy a plans file, changed by `change`, to `folder`, with its dataset description beside it."""
    content = json.loads(source.read_text())
    change(content)
    (folder / "dataset.json").write_text((source.parent / "dataset.json").read_text())
    path = folder / "plans.json"
    path.write_text(json.dumps(content))
    return path
