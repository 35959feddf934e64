"""The site builds strictly, without a network, and asks its readers' browsers for nothing elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from mkdocs.exceptions import PluginError

from scripts.docs.links import on_page_markdown

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | nowhere,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_there(site: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert {path.stem for path in site.glob("*.html")} == pages | {"404"}


def test_nothing_is_asked_for_elsewhere(site: Path) -> None:
    loaded = re.compile(r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=\"?((?:https?:)?//[^\">\s]+)")
    found = {url for page in site.glob("*.html") for url in loaded.findall(page.read_text(encoding="utf-8"))}
    assert found == set()


def turned(text: str, repo_url: str | None = None) -> str:
    config = {"docs_dir": str(ROOT / "docs"), "repo_url": repo_url}
    return on_page_markdown(text, SimpleNamespace(file=SimpleNamespace(src_path="a.md")), config)


def test_links_that_leave_the_site() -> None:
    assert turned("[README](../README.md)") == "README (`README.md`)"
    assert turned("[scripts/slurm](../scripts/slurm)") == "scripts/slurm"
    assert turned("[it](../README.md)", "https://host/x/") == "[it](https://host/x/blob/main/README.md)"
    assert turned("[faq](faq.md#data)") == "[faq](faq.md#data)"
    with pytest.raises(PluginError, match=r"a\.md: \[it\]\(\.\./NOTHING\.md\) leads to NOTHING\.md"):
        turned("[it](../NOTHING.md)")


def test_it_brings_its_fonts_or_takes_the_system_s() -> None:
    theme = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["theme"]
    assert theme["font"] is False
