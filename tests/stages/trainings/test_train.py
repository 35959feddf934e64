from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from segfw.core.errors import ArtefactError
from segfw.stages.trainings.train import _begin


@pytest.mark.parametrize("last", ["last.ckpt", "previous.ckpt", None])
def test_a_finished_training_whose_weights_are_gone_is_not_begun_again_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str | None
) -> None:
    monkeypatch.setattr("segfw.stages.trainings.train.config_of", lambda *_: {})
    job: Any = SimpleNamespace(settings=SimpleNamespace(overwrite=False))
    run: Any = None
    (tmp_path / "checkpoints").mkdir()
    for name in ("config.yaml", "done.yaml", "checkpoints/best.ckpt", *([f"checkpoints/{last}"] if last else [])):
        (tmp_path / name).write_text("{}")
    if last:
        _begin(job, tmp_path, run)
        assert not (tmp_path / "done.yaml").exists()
        return
    with pytest.raises(ArtefactError, match=r"its weights are gone \(checkpoints/last\.ckpt\); .* overwrite=true"):
        _begin(job, tmp_path, run)
    assert (tmp_path / "done.yaml").exists()
    job.settings.overwrite = True
    _begin(job, tmp_path, run)
    assert not (tmp_path / "checkpoints").exists()
