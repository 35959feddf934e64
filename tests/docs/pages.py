"""The README and the pages of the site, taken apart into blocks and commands."""

import re
import shlex
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block. `place`: page and line, for messages."""

    place: str
    language: str
    text: str


def blocks(page: Path, language: str) -> list[Block]:
    """Return the blocks of one language in a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = [(text.count("\n", 0, match.start()) + 1, match) for match in FENCE.finditer(text)]
    return [Block(f"{page.name}:{line}", each[2], each[3]) for line, each in found if each[2] == language]


def commands(page: Path) -> list[tuple[str, list[str]]]:
    """Return the commands of a page's bash blocks, in order: place, and words without comments."""
    found = []
    for block in blocks(page, "bash"):
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                found.append((block.place, words))
    return found


def segfw_words(words: list[str]) -> list[str] | None:
    """Return what a command gives segfw, None where it does not call it."""
    if words[0] == "./scripts/run":
        return words[1:]
    if words[0] == "docker" and words[1] == "run":
        image = next(place for place, word in enumerate(words) if word.startswith("segfw"))
        return words[image + 1 :]
    pairs = list(pairwise(words))
    return words[pairs.index(("-m", "segfw")) + 2 :] if ("-m", "segfw") in pairs else None
