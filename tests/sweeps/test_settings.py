"""Which settings of a composed configuration a study is bound to."""

from omegaconf import OmegaConf

from segfw.sweeps.settings import file_name, shared_settings


def test_what_only_says_where_and_how_fast_is_left_out_and_so_is_what_is_searched():
    config = OmegaConf.create(
        {
            "name": "main",
            "hydra": {"job": {"num": "???"}},
            "data": {"workers": 3},
            "logger": {"wandb": {"project": "x"}},
            "network": {"name": "unet", "arguments": {}},
            "optimizer": {"lr": 0.1, "eps": None},
            "trainer": {"devices": 1, "max_epochs": 2},
            "folds": [0],
            "loss": {"class_weights": [{"a": 1}], "weight": "${optimizer.lr}"},
        }
    )
    assert shared_settings(config, ("network", "optimizer.lr")) == {
        "optimizer.eps": None,
        "trainer.max_epochs": 2,
        "folds": [0],
        "loss.class_weights": [{"a": 1}],
        "loss.weight": 0.1,
    }


def test_a_name_is_one_word():
    assert file_name("a b,c/é-1") == "a_b_c_-1"
