"""Nothing in the sources runs what a file says: read from the syntax trees, beyond what ruff's rules (S) look at."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BANNED = {
    "unsafe_load", "full_load", "UnsafeLoader", "FullLoader", "CLoader", "CFullLoader", "CUnsafeLoader",  # yaml
    "extractall", "extract", "unpack_archive",  # archives are unpacked by segfw/io/fetching/unpack.py
    "instantiate", "get_class", "get_method", "get_object",  # hydra.utils
    "load_from_checkpoint", "read_pickle", "hub", "__import__", "addsitedir",
}  # fmt: skip
"""Names of functions and attributes that run or write what a file asks for."""
MODULES = {"shelve", "dill", "cloudpickle", "joblib", "marshal", "runpy", "code", "codeop", "imp"}
IMPORTERS = {
    "segfw/core/support/importing.py": "what a user names, guarded by its callers",
    "segfw/__init__.py": "names of its own table",
    "segfw/__main__.py": "the verbs' own jobs",
    "segfw/stages/pipeline.py": "the stages",
    "segfw/tracking/building.py": "the trackers",
    "segfw/sweeps/plugin.py": "one name",
    "scripts/benchmarks/store.py": "formats that are compared",
    "scripts/soaking/nursery.py": "names of its own list",
}
"""The files that import by a name in a variable, and which names those are."""


def faults(tree, file):
    """Yield what the rules refuse, with its line."""
    for node in ast.walk(tree):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if name in BANNED:
            yield f"{file}:{node.lineno} {name}"
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle" and name != "UnpicklingError":
            yield f"{file}:{node.lineno} pickle.{name}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = {alias.name for alias in node.names} if isinstance(node, ast.Import) else {node.module or ""}
            yield from (f"{file}:{node.lineno} {each}" for each in modules if each.split(".")[0] in MODULES)
        if isinstance(node, ast.Call):
            yield from (f"{file}:{node.lineno} {fault}" for fault in faults_of_call(node, file))


def faults_of_call(call, file):
    called = ast.unparse(call.func)
    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if called == "torch.load" and keywords.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if called in ("torch.jit.load", "torch.package.PackageImporter", "torch.export.load"):
        yield called
    if keywords.get("allow_pickle", "False") != "False":
        yield f"{called} with allow_pickle={keywords['allow_pickle']}"
    if called.endswith("import_module") and not isinstance(call.args[0], ast.Constant) and file not in IMPORTERS:
        yield f"{called}({ast.unparse(call.args[0])})"
    if called.startswith("sys.path."):
        yield called


def sources():
    files = [path for folder in ("segfw", "scripts") for path in sorted((ROOT / folder).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in files}


def test_no_source_runs_what_a_file_says():
    found = sources()
    assert len(found) > 300
    assert [fault for file, tree in found.items() for fault in faults(tree, file)] == []
    assert set(IMPORTERS) <= set(found)


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)", "torch.load(path, weights_only=False)", "torch.load(path, weights_only=trusted)",
        "np.load(path, allow_pickle=True)", "pickle.loads(text)", "from pickle import loads; pickle.load(f)",
        "yaml.load(text, yaml.UnsafeLoader)", "yaml.full_load(text)", "tar.extractall(folder)", "archive.extract(m)",
        "hydra.utils.instantiate(config)", "importlib.import_module(name)", "__import__(name)", "import joblib",
        "from cloudpickle import load", "torch.jit.load(path)", "sys.path.insert(0, folder)",
    ],
)  # fmt: skip
def test_each_of_them_is_found(source):
    assert list(faults(ast.parse(source), "segfw/some.py"))


@pytest.mark.parametrize(
    "source",
    ["torch.load(path, weights_only=True)", "np.load(path, allow_pickle=False)", "import_module('a.b')", "np.load(p)"],
)
def test_what_is_safe_is_let_be(source):
    assert list(faults(ast.parse(source), "segfw/some.py")) == []
