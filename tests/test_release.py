"""What a release is made of: the image's recipe, the citation and the workflows, as far as they can be checked here."""

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from segfw import __version__

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
# of the schema of CFF 1.2.0: what a file must have, and may have besides
CFF_REQUIRED = {"authors", "cff-version", "message", "title"}
CFF_ALLOWED = CFF_REQUIRED | {
    *("abstract", "commit", "contact", "date-released", "doi", "identifiers", "keywords", "license", "license-url"),
    *("preferred-citation", "references", "repository", "repository-artifact", "repository-code", "type", "url"),
    "version",
}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, continued lines joined, comments left out."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed: there is no wheel of it for this machine")
def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([str(HADOLINT), str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_runs_without_privileges_on_pinned_packages() -> None:
    found = instructions()
    assert [value for name, value in found if name == "USER"] == ["1000"]
    installs = [value for name, value in found if name == "RUN" and "pip install" in value]
    assert len(installs) == 3
    assert all("--constraint" in value and "--no-cache-dir" in value for value in installs)
    (entry,) = [value for name, value in found if name == "ENTRYPOINT"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert entry == '["segfw"]'
    assert "segfw" in project["scripts"]
    assert {f"ARG {value.split('=')[0]}" for name, value in found if name == "ARG"} == {
        *("ARG PYTHON", "ARG TORCH_INDEX", "ARG EXTRAS")
    }


def test_the_image_is_given_what_it_copies_and_what_the_wheel_needs() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    copied = [
        word for name, value in instructions() if name == "COPY" for word in value.split()[:-1] if word[:2] != "--"
    ]
    assert all((ROOT / name).exists() for name in kept)
    assert sorted(copied) == sorted(kept)
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    wheel = build["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], "LICENSE"}
    assert needed <= set(kept)


def test_what_the_documentation_builds_is_what_the_dockerfile_takes() -> None:
    names = {value.split("=")[0] for name, value in instructions() if name == "ARG"}
    text = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    assert set(re.findall(r"--build-arg (\w+)=", text)) <= names


def test_the_citation_is_valid_and_of_this_version() -> None:
    citation = load(ROOT / "CITATION.cff")
    assert CFF_REQUIRED <= citation.keys() <= CFF_ALLOWED
    assert (citation["cff-version"], citation["type"]) == ("1.2.0", "software")
    assert citation["version"] == __version__
    assert citation["license"] == "Apache-2.0"
    assert [set(author) for author in citation["authors"]] == [{"name"}]  # an entity
    for reference in citation["references"]:
        assert {"authors", "title", "type"} <= reference.keys()
        assert all({"family-names", "given-names"} == author.keys() for author in reference["authors"])
        assert re.fullmatch(r"10\.\d{4,}/\S+", reference["doi"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_do_little_and_its_scripts_parse(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets." not in path.read_text(encoding="utf-8")
    for name, job in workflow["jobs"].items():
        if "uses" in job:
            assert (ROOT / job["uses"]).is_file()
            continue
        assert job["timeout-minutes"] > 0, name
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), (name, step)
            assert "uses" not in step or re.fullmatch(r"[\w.-]+/[\w.-]+@\S+", step["uses"])
            parsed = subprocess.run(["bash", "-n", "-c", step.get("run", "")], capture_output=True, check=False)
            assert parsed.returncode == 0, step


def test_every_supported_python_is_tested() -> None:
    (line,) = re.findall(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    supported = [f"3.{minor}" for minor in range(int(line[0]), int(line[1]))]
    assert load(ROOT / ".github/workflows/tests.yml")["jobs"]["tests"]["strategy"]["matrix"]["python"] == supported


def test_only_a_tested_tag_is_published_and_by_trust() -> None:
    workflow = load(ROOT / ".github/workflows/release.yml")
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads `on` so
    publish = workflow["jobs"]["publish"]
    assert set(publish["needs"]) == {"tests", "build"}
    assert publish["permissions"] == {"id-token": "write"}
    assert fnmatch.fnmatch(publish["steps"][-1]["uses"], "pypa/gh-action-pypi-publish@release/v*")
    assert "with" not in publish["steps"][-1]  # no password
    others = [job for name, job in workflow["jobs"].items() if name != "publish"]
    assert all("permissions" not in job for job in others)


@pytest.mark.parametrize(
    ("tag", "changelog", "status"),
    [
        (f"v{__version__}", f"## {__version__} (2027-01-01)", 0),
        (f"v{__version__}", f"## {__version__} (not yet released)", 1),
        (f"v{__version__}", "## 0.0.0", 1),
        ("v9.9.9", f"## {__version__} (2027-01-01)", 1),
    ],
)
def test_a_tag_must_be_the_version(tag: str, changelog: str, status: int, tmp_path: Path) -> None:
    steps = load(ROOT / ".github/workflows/release.yml")["jobs"]["build"]["steps"]
    (script,) = [step["run"] for step in steps if step.get("name", "").startswith("The tag")]
    (tmp_path / "segfw/core").mkdir(parents=True)
    for name in ("segfw/core/version.py", "CITATION.cff"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / "CHANGELOG.md").write_text(changelog + "\n")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"GITHUB_REF_NAME": tag, "PATH": path},
        capture_output=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
