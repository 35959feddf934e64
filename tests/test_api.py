"""The Python entry to prediction: what it refuses."""

from pathlib import Path

import pytest

from segfw import Predictor
from segfw.core.errors import UsageError
from segfw.core.settings.verbs import InferenceOverrides


def test_a_format_of_files_is_refused_where_none_are_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="output_format=nrrd is for files"):
        Predictor.load(tmp_path, settings=InferenceOverrides(output_format="nrrd"))
