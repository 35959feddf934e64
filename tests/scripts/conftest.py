"""Benchmarks as their commands find them: each imports those beside it."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from scripts import benchmarks


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Give `benchmark(name)`, the module of one."""
    monkeypatch.syspath_prepend(str(Path(benchmarks.__file__).parent))
    return importlib.import_module
