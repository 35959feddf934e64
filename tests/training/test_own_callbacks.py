"""Callbacks by their import path."""

import pytest
from pytorch_lightning.callbacks import EarlyStopping

from segfw.core.errors import UsageError
from segfw.training.callbacks.own import build_callbacks


def test_built_with_its_arguments():
    entry = {"_target_": "pytorch_lightning.callbacks.EarlyStopping", "monitor": "val/loss", "patience": 7}
    (callback,) = build_callbacks({"stop": entry, "removed": None})
    assert isinstance(callback, EarlyStopping)
    assert (callback.monitor, callback.patience) == ("val/loss", 7)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"monitor": "x"}, "callbacks.x must be a mapping with _target_"),
        ({"_target_": "nonsense.Foo"}, "callbacks.x._target_: cannot import 'nonsense.Foo'"),
        ({"_target_": "Foo"}, "cannot import 'Foo'"),
        ({"_target_": "pytorch_lightning.Trainer"}, "is no pytorch_lightning.Callback"),
        ({"_target_": "pytorch_lightning.callbacks.EarlyStopping"}, "refuses its arguments.*monitor"),
    ],
)
def test_mistakes_name_the_key(entry, message):
    with pytest.raises(UsageError, match=message):
        build_callbacks({"x": entry})
