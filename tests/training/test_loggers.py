"""A Lightning logger of the user's own is told as every tracker is."""

import csv

import pytest

from segfw.core.errors import UsageError
from segfw.tracking.fan_out import telling
from segfw.tracking.trackers import TrackedRun
from segfw.training.loggers import check_own_loggers, own_loggers

ENTRY = {"_target_": "pytorch_lightning.loggers.CSVLogger", "name": "mine", "version": 0}


def test_it_gets_scalars_with_their_names_and_the_configuration(tmp_path):
    run = TrackedRun("segfw", "g", "n", "train", tmp_path, tmp_path, (), {"optimizer.lr": 0.1})
    found = own_loggers({"mine": {**ENTRY, "save_dir": str(tmp_path)}, "off": None}, run)
    assert list(found) == ["own.mine"]
    with telling(found, ["images"]) as trackers:
        trackers.scalars({"train/loss": 0.5, "val/patch_dice/liver": 0.25}, 3)
    with (tmp_path / "mine" / "version_0" / "metrics.csv").open() as file:
        assert list(csv.DictReader(file)) == [{"step": "3", "train/loss": "0.5", "val/patch_dice/liver": "0.25"}]
    assert "optimizer.lr: 0.1" in (tmp_path / "mine" / "version_0" / "hparams.yaml").read_text()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"_target_": "builtins.dict"}, "logger.own.mine._target_: builtins.dict is no pytorch_lightning.Logger"),
        ({"_target_": "nowhere.Logger"}, "cannot import 'nowhere.Logger'"),
        ({**ENTRY, "colour": 1}, "logger.own.mine: pytorch_lightning.loggers.CSVLogger refuses its arguments"),
        ("csv", "logger.own.mine must be a mapping with _target_: package.module.Class, got 'csv'"),
    ],
)
def test_what_is_no_logger_is_refused(entry, said):
    with pytest.raises(UsageError, match=said):
        check_own_loggers({"mine": entry})
