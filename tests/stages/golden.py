"""Where reference values lie for the tests of this folder."""

from pathlib import Path

HIPPOCAMPUS = Path(__file__).parents[1] / "golden" / "plans" / "hippocampus"
