"""A hook of mkdocs: links of pages to files beside docs/, which are no part of the site.

A file that is not there ends the build. Where `repo_url` is set the link leads there, else the file's path is named.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\[([^\]]+)\]\((?:\.\./)+([^)#\s]+)\)")
PAGES = "docs/"


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Return a page's text with its links that leave docs/ turned."""

    def turned(link: re.Match[str]) -> str:
        text, path = link[1], link[2]
        if (Path(config["docs_dir"]) / path).exists():  # from a folder of docs/ to a page above it
            return link[0]
        if not (ROOT / path).exists():
            raise PluginError(f"{page.file.src_path}: {link[0]} leads to {path}, which is not there")
        if config["repo_url"]:
            return f"[{text}]({config['repo_url'].rstrip('/')}/blob/main/{path})"
        return text if text.strip("`") == path else f"{text} (`{path}`)"

    return LINK.sub(turned, markdown)
