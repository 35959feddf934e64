"""What users install: the scripts are sound, the pins fit the ranges, and the wheel works away from the checkout."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from segfw import __version__

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def run(*command, **arguments):
    return subprocess.run(
        [str(part) for part in command], capture_output=True, encoding="utf-8", check=False, **arguments
    )


@pytest.mark.parametrize(
    "script", ["scripts/run", "scripts/test", "scripts/environment.sh", "scripts/audit", ".ci/run"]
)
def test_scripts_parse(script):
    result = run("bash", "-n", ROOT / script)
    assert (result.returncode, result.stderr) == (0, "")
    assert script.endswith(".sh") or os.access(ROOT / script, os.X_OK)


def test_the_style_of_every_committed_file_is_checked_and_of_no_other():
    listed = run("git", "-C", ROOT, "ls-files", "*.py", "*.pyi", "*.ipynb")
    if listed.returncode:
        pytest.skip("this is no git checkout")
    checked = re.search(r"^ours=\((.*)\)$", (ROOT / "scripts/test").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert {*checked.split()} == {path.partition("/")[0] for path in listed.stdout.splitlines()}


@pytest.mark.parametrize(
    ("answer", "message"), [("3.9.2", "is needed, .* is 3.9.2"), ("3.14.0", "is needed"), (None, "there is no Python")]
)
def test_unsuitable_python_is_explained(tmp_path, answer, message):
    python = tmp_path / "python"
    if answer:
        python.write_text(f"#!/bin/sh\necho {answer}\n")
        python.chmod(0o755)
    result = run(ROOT / "scripts/run", "--help", env=os.environ | {"SEGFW_PYTHON": str(python)})
    assert result.returncode == 1
    assert re.search(message, result.stderr)


def test_every_dependency_is_pinned_within_its_range():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.lower().replace("_", "-").split("==") for line in lines if line and not line.startswith("#"))
    extras = [text for texts in PROJECT["optional-dependencies"].values() for text in texts]
    for text in (*PROJECT["dependencies"], *extras):
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[requirement.name.lower()], prereleases=True), text


def test_every_package_that_comes_along_is_pinned_as_it_is_installed():
    """Also those that dependencies bring: the closure of every extra, as far as it is installed here."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    extras = [text for texts in PROJECT["optional-dependencies"].values() for text in texts]
    waiting, seen = [Requirement(text) for text in (*PROJECT["dependencies"], *extras)], set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        wanted = frozenset({"", *requirement.extras})
        if (name, wanted) in seen or not _applies(requirement.marker, {""}):
            continue
        seen.add((name, wanted))
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of an extra that is not installed here
        assert found.version.split("+")[0] == pins.get(name), f"{name} {found.version} is pinned to {pins.get(name)}"
        further = map(Requirement, found.requires or ())
        waiting += [each for each in further if _applies(each.marker, wanted)]
    assert len(seen) > 100


def _applies(marker, extras):
    """Whether a requirement counts here; its own marker about extras has been looked at with `extras`."""
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)


def test_version_is_stated_once():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {__version__}" in changelog


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Build the wheel and install it alone into a folder."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    built = run(*pip, "wheel", "--quiet", "--no-build-isolation", "--no-deps", "--wheel-dir", folder, ROOT)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("segfw-*.whl")
    placed = run(*pip, "install", "--quiet", "--no-deps", "--target", folder / "site", wheel)
    assert placed.returncode == 0, placed.stderr
    return folder / "site"


@pytest.mark.slow
def test_wheel_holds_code_configs_and_license(installed):
    assert (installed / "segfw/configs/experiment.yaml").is_file()
    for name in ("page.css", "viewer.css", "viewer.js"):  # of the report
        assert (installed / "segfw/tracking" / name).is_file()
    assert not (installed / "tests").exists()
    (found,) = importlib.metadata.distributions(name="segfw", path=[str(installed)])
    assert found.version == __version__
    assert found.read_text("entry_points.txt").split() == ["[console_scripts]", "segfw", "=", "segfw.__main__:main"]
    assert any(path.name == "LICENSE" for path in found.files)


@pytest.mark.slow
def test_installed_program_runs_elsewhere(installed, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(installed)}
    where = run(sys.executable, "-c", "import segfw.core.errors as m; print(m.__file__)", cwd=tmp_path, env=environment)
    assert where.stdout.startswith(str(installed))
    shown = run(sys.executable, "-m", "segfw", "--help", cwd=tmp_path, env=environment)
    assert shown.returncode == 0, shown.stderr
    assert "predict" in shown.stdout
    refused = run(sys.executable, "-m", "segfw", "+task=Nope", cwd=tmp_path, env=environment)
    assert refused.returncode == 2
    assert "Task04" in refused.stdout + refused.stderr
