"""The tiny trainings of `tests.training`, and a whole job as small, trained once for tests that leave it whole."""

from collections.abc import Iterator

import pytest

from segfw.core.settings.schema import ExperimentSettings
from tests.faults.tiny_job import cheap, run, settings_of
from tests.training.conftest import fit, io, make_run, no_drawing, store

__all__ = ["fit", "io", "make_run", "no_drawing", "store"]


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> ExperimentSettings:
    """A job that is done up to its training."""
    with cheap():  # left before the tests: what lasts for the session would change those of other folders
        settings = settings_of(tmp_path_factory.mktemp("trained"))
        run(settings, ["fingerprint", "plan", "preprocess", "train"])
    return settings


@pytest.fixture
def trained(trained_once: ExperimentSettings) -> Iterator[ExperimentSettings]:
    """The job that is done up to its training, while what costs more than trainings is left out."""
    with cheap():
        yield trained_once
