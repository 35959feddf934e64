"""Logits made again are those of the validation, and are refused where they would not be."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from segfw.core.errors import ArtefactError
from segfw.core.support.files import sha256
from segfw.data.kept_logits import load_logits, logits_path
from segfw.training.fit import FoldResult
from segfw.training.logits import make_logits, missing_logits
from segfw.training.run import FoldRun

CPU = torch.device("cpu")


def test_they_are_made_again_but_for_rounding(
    make_run: Callable[..., FoldRun], fit: Callable[..., FoldResult], tmp_path: Path
) -> None:
    run = make_run(max_epochs=1, train_cases=("a",), val_cases=("b", "c"))
    weights = sha256(fit(run, tmp_path).checkpoint)
    assert missing_logits(run, tmp_path, weights, run.val_cases) == []
    path = logits_path(tmp_path / "validation", "c")
    before = load_logits(path)
    path.unlink()
    assert missing_logits(run, tmp_path, weights, run.val_cases) == ["c"]
    other = replace(run, inference=replace(run.inference, step_size=0.5))
    assert missing_logits(other, tmp_path, weights, run.val_cases) == ["b", "c"]
    make_logits(run, tmp_path, weights, ["c"], CPU)
    assert missing_logits(run, tmp_path, weights, run.val_cases) == []
    np.testing.assert_allclose(load_logits(path), before, rtol=2e-3, atol=2e-3)  # float16 has 11 bits
    with pytest.raises(ArtefactError, match=f"is {weights}, not {'f' * 64}"):
        make_logits(run, tmp_path, "f" * 64, ["c"], CPU)
    with pytest.raises(ArtefactError, match="gone is not complete"):
        make_logits(replace(run, store=str(tmp_path / "gone")), tmp_path, weights, ["c"], CPU)
