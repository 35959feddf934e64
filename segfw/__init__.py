"""segfw: nnU-Net's method as a Lightning + Hydra experiment framework.

The public names are loaded on first use, so that `python -m segfw --help` does not wait for PyTorch.
"""

from importlib import import_module
from typing import Any

from segfw.core.version import __version__

_PUBLIC = {
    "Predictor": "segfw.api",
    "evaluate": "segfw.api",
    "load_dataset": "segfw.api",
    "make_fingerprint": "segfw.api",
    "make_plan": "segfw.core.planning.planning",
    "preprocess_case": "segfw.core.imaging.preprocessing",
    "read_volume": "segfw.api",
}
__all__ = [
    "Predictor",
    "__version__",
    "evaluate",
    "load_dataset",
    "make_fingerprint",
    "make_plan",
    "preprocess_case",
    "read_volume",
]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'segfw' has no attribute {name!r}; it offers {sorted(_PUBLIC)}")
    return getattr(import_module(_PUBLIC[name]), name)
