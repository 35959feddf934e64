"""Who may import whom: the layers of the package and the homes of third-party packages, read from the syntax trees."""

import ast
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "segfw"

# layer -> what it may import of ours: a layer, or single modules of one
LAYERS = {
    "core": set(),
    "io": {"core"},
    "workspace": {"core"},
    "config": {"core"},
    "command_line": {"config", "core"},
    "completion": {"command_line", "config", "core"},
    "nn": {"core"},
    "data": {"core"},
    "tracking": {"core"},
    "inference": {"core", "nn.build", "nn.torch_file", "data.store"},
    "interop": {"inference", "io", "nn", "core"},
    "training": {"inference", "tracking", "data", "nn", "core"},
    "stages": {
        "training",
        "inference",
        "tracking",
        "interop",
        "io",
        "data",
        "nn",
        "core",
        "workspace",
        "config",
    },
    "api": {
        "stages",
        "training",
        "inference",
        "tracking",
        "interop",
        "io",
        "data",
        "nn",
        "core",
        "workspace",
        "config",
    },
    "sweeps": {"core"},
    "composition": {"command_line", "config", "sweeps", "core"},
    "__init__": {"api", "core"},
    "__main__": {"stages", "api", "config", "command_line", "composition", "completion", "sweeps", "core"},
}
TORCH_USERS = {"nn", "data", "inference", "training", "interop", "stages", "api"}
HOMES = {
    "hydra": {"__main__", "composition", "sweeps"},
    "omegaconf": {"config"},
    "pytorch_lightning": {"training"},
    "lightning_fabric": {"training"},
    "lightning": set(),
    "torchmetrics": {"training"},
    "SimpleITK": {"io"},
    "fsspec": {"io"},
    "aiohttp": {"io"},
    "cc3d": {"core"},
    "torch": TORCH_USERS,
    "torchio": {"data", "api"},
    "wandb": {"tracking"},
    "tensorboard": {"tracking"},
    "mlflow": {"tracking"},
    "optuna": {"sweeps"},
    "ray": {"stages"},
    "joblib": set(),
    "submitit": set(),
    "matplotlib": {"tracking"},
    "PIL": {"tracking"},
    "onnx": {"interop"},
    "onnxscript": {"interop"},
    "onnxruntime": {"interop"},
    "highdicom": {"interop"},
    "pydicom": {"interop"},
}
CATCHES_ALL, EVERY_KIND = PACKAGE / "core" / "support" / "attempts.py", {"Exception", "BaseException"}
CORE_MAY_USE = {"numpy", "scipy", "yaml", "cc3d"}
OPTIONAL = {
    "torchio",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "highdicom",
    "pydicom",
    "optuna",
    "tensorboard",
    "mlflow",
    "wandb",
    "ray",
    "fsspec",
    "aiohttp",
}  # imported where they are used: slow to load, or perhaps absent


@cache
def trees():
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def module_name(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imported(tree):
    """List (module, line) of every import; `from segfw.a import b` gives `segfw.a.b`, since `b` may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{'.' * node.level}{node.module or ''}.{alias.name}", node.lineno) for alias in node.names)


def own_imports(path):
    """List (module without `segfw.`, line) of what the file imports of the package."""
    for name, line in imported(trees()[path]):
        if name.split(".")[0] == "segfw":
            yield name.removeprefix("segfw.").removesuffix(".*"), line


def test_every_layer_is_in_the_table():
    assert {module_name(path).split(".")[0] for path in trees()} <= set(LAYERS)


def test_arrows_point_downward():
    wrong = []
    for path in trees():
        layer = module_name(path).split(".")[0]
        for target, line in own_imports(path):
            allowed = {layer, *LAYERS.get(layer, ())}
            known = any(target == other or target.startswith(f"{other}.") for other in allowed)
            if not known and not (target in LAYERS and target in {other.split(".")[0] for other in allowed}):
                wrong.append(f"{path.relative_to(PACKAGE)}:{line} imports segfw.{target}")
    assert not wrong


def test_the_table_itself_has_no_cycle():
    graph = {layer: {other.split(".")[0] for other in below} for layer, below in LAYERS.items()}
    order = list(TopologicalSorter(graph).static_order())
    assert order.index("core") == min(order.index(layer) for layer in order if graph[layer] or layer == "core")


def test_modules_import_each_other_in_one_direction():
    modules = {module_name(path) for path in trees()}
    graph = {}
    for path in trees():
        targets = {target if target in modules else target.rpartition(".")[0] for target, _ in own_imports(path)}
        graph[module_name(path)] = (targets & modules) - {module_name(path)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


def test_third_party_packages_stay_at_home():
    wrong = []
    for path, tree in trees().items():
        layer = module_name(path).split(".")[0]
        for name, line in imported(tree):
            package = name.split(".")[0]
            foreign_to_core = layer == "core" and package not in {*CORE_MAY_USE, *sys.stdlib_module_names, "segfw"}
            if foreign_to_core or layer not in HOMES.get(package, {layer}):
                wrong.append(f"{path.relative_to(PACKAGE)}:{line} imports {package}")
    assert not wrong


def test_imports_are_absolute_and_at_the_top():
    wrong = []
    for path, tree in trees().items():
        place = path.relative_to(PACKAGE)
        wrong += [f"{place}:{line} relative import {name}" for name, line in imported(tree) if name.startswith(".")]
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                found = [(name, line) for name, line in imported(function) if name.split(".")[0] not in OPTIONAL]
                wrong += [f"{place}:{line} imports {name} inside a function" for name, line in found]
    assert not wrong


def test_errors_of_every_kind_are_caught_in_one_place():
    found = [path for path, tree in trees().items() for node in ast.walk(tree) if catches_all(node)]
    assert found == [CATCHES_ALL]  # the others call it


def catches_all(node):
    if isinstance(node, ast.ExceptHandler):
        caught = node.type
    elif isinstance(node, ast.Call) and "suppress" in (getattr(node.func, "id", ""), getattr(node.func, "attr", "")):
        caught = node
    else:
        return False
    return caught is None or any(getattr(part, "id", "") in EVERY_KIND for part in ast.walk(caught))


@pytest.mark.parametrize(
    "source",
    [
        *(f"try:\n    f()\nexcept{kind}:\n    g()" for kind in ("", " Exception", " (OSError, BaseException) as e")),
        "with contextlib.suppress(Exception):\n    f()",
    ],
)
def test_what_catches_all_is_found(source):
    assert any(catches_all(node) for node in ast.walk(ast.parse(source)))
    harmless = source.replace("BaseException", "ValueError").replace("except:", "except KeyError:")
    harmless = harmless.replace("Exception", "ValueError")
    assert not any(catches_all(node) for node in ast.walk(ast.parse(harmless)))
