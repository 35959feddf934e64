"""Settings as a tree, and those that are not the defaults."""

from dataclasses import replace

from segfw.core.settings.schema import ExperimentSettings, TaskSettings
from segfw.core.settings.training import OptimizerSettings
from segfw.core.settings.tree import changed_text, tree_text


def test_a_tree_of_nested_keys():
    plain = {"a": {"b": 1.5, "c": {}, "d": {"e": None}}, "f": ["x", True], "g": "text: [1]"}
    assert tree_text(plain) == (
        "settings\n"
        "├── a\n"
        "│   ├── b: 1.5\n"
        "│   ├── c: {}\n"
        "│   └── d\n"
        "│       └── e: null\n"
        "├── f: [x,true]\n"
        "└── g: text: [1]\n"
    )


def test_what_is_changed_is_told_as_a_command_line_would_say_it():
    declared = ExperimentSettings()
    changed = replace(
        declared,
        task=TaskSettings(name="Mine"),
        output_root="elsewhere",
        name="mine",
        optimizer=OptimizerSettings(lr=0.5, nesterov=False),
        callbacks={"mine": {"_target_": "my.Callback", "weights": {"a": [1, 2]}}},
        folds=(0, 1),
    )
    assert changed_text(changed, declared) == (
        "name=mine folds=[0,1] optimizer.lr=0.5 optimizer.nesterov=false callbacks.mine._target_=my.Callback "
        "callbacks.mine.weights.a=[1,2]"
    )
    assert changed_text(declared, declared) == ""
