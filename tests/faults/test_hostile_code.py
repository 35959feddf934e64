"""What a model says is data: its text is not expanded, and code runs where it is named and trusted alone."""

import re
import shutil
import sys
from contextlib import nullcontext

import pytest
import yaml

from segfw import Predictor
from segfw.core.errors import SegfwError
from segfw.core.settings.verbs import ExportSettings, ImportSettings
from segfw.inference.bundle import save_bundle
from segfw.stages.models import export, import_model
from tests.inference.tiny_model import make_bundle, make_plan

SECRET = "SEGFW_TEST_SECRET"
PLANTED = "import os\nfrom pathlib import Path\nPath(os.environ['SEGFW_TEST_MARK']).write_text(__name__)\nNet = None\n"
"""A module that tells that it was imported."""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "package"
    save_bundle(folder, make_bundle(make_plan(), (("3d_fullres", 0),)))
    return folder


def planted(folder, *names):
    """Write modules of these names into the folder, and return it."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(PLANTED)
    return folder


def test_what_a_model_says_is_data_whatever_it_looks_like(package, tmp_path, monkeypatch):
    monkeypatch.setenv(SECRET, "do-not-tell")
    folder = tmp_path / "model"
    shutil.copytree(package, folder)
    secret = f"${{oc.env:{SECRET}}}"
    text = (folder / "model.yaml").read_text()
    (folder / "model.yaml").write_text(text.replace("dataset_name: Dataset", f"dataset_name: '{secret}'", 1))
    for kind in ("zip", "nnunet"):
        export.run(ExportSettings(model=str(folder), format=kind, output=str(tmp_path / f"{kind}.zip")))
    import_model.run(ImportSettings(source=str(tmp_path / "nnunet.zip"), output=str(tmp_path / "out")))
    made = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(secret.encode() in path.read_bytes() for path in made if "out" in path.parts)
    assert not any(b"do-not-tell" in path.read_bytes() for path in made)


@pytest.fixture
def own(package, tmp_path, monkeypatch):
    """Return what makes a model that names code; modules lie in its folder and in the working directory."""
    here = tmp_path / "here"
    monkeypatch.chdir(planted(here, "planted_here.py"))
    monkeypatch.syspath_prepend(here)

    def naming(target, **arguments):
        folder = tmp_path / "model"
        shutil.copytree(package, folder)
        planted(folder, "planted_inside.py", "sitecustomize.py", "model.py", "hydra_plugins.py", "yaml.py")
        plain = yaml.safe_load((folder / "model.yaml").read_text())
        plain["members"][0].update(target=target, arguments=arguments)
        (folder / "model.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
        return folder

    return naming


@pytest.mark.parametrize(
    ("target", "trust", "message", "run"),
    [
        (None, False, None, None),
        (None, True, None, None),
        ("planted_here.Net", False, "code that is not part of the model and would be run", None),
        ("planted_inside.Net", False, "code that is not part of the model", None),
        ("os.system", False, "the model's network is os.system", None),
        ("planted_here.Net", True, "is no class or function that makes a network", "planted_here"),
        ("planted_inside.Net", True, "No module named 'planted_inside'", None),
        ("os.system", True, "os.system does not work", None),
        ("subprocess.getoutput", True, "subprocess.getoutput does not work", None),
        ("builtins.exec", True, "exec does not work", None),
    ],
)
def test_code_runs_only_where_the_model_names_it_and_its_user_trusts_it(
    own, tmp_path, monkeypatch, target, trust, message, run
):
    monkeypatch.setenv("SEGFW_TEST_MARK", str(tmp_path / "imported"))
    mark = tmp_path / "mark"
    arguments = {} if target is None or target.startswith("planted") else {"command": f"touch {mark}", "cmd": "a"}
    folder = own(target, **arguments)
    with nullcontext() if message is None else pytest.raises(SegfwError, match=re.escape(message)):
        Predictor.load(folder, device="cpu", trust_code=trust)
    there = tmp_path / "imported"
    assert (there.read_text() if there.exists() else None) == run
    assert not mark.exists()
    sys.modules.pop("planted_here", None)
