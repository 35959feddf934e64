"""The tiny trainings of `tests.training`."""

from tests.training.conftest import fit, io, make_run, no_drawing, store

__all__ = ["fit", "io", "make_run", "no_drawing", "store"]
