"""The page of every key is what the settings declare today."""

from scripts.docs.configuration import PAGE, page
from segfw.command_line import VERBS


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "stale: python -m scripts.docs.configuration writes it anew"


def test_every_key_of_every_verb_is_there() -> None:
    text = page()
    keys = {key.dotted for verb in VERBS.values() for key in verb.keys if not key.node}
    assert [key for key in keys if f"| `{key}` |" not in text] == []


def test_a_row_tells_default_words_and_rule() -> None:
    rows = dict(line.split(" | ", 1) for line in page().splitlines() if line.startswith("| `"))
    assert rows["| `trainer.max_epochs`"].startswith("`1000` | integer; at least 1 | epochs; raising")
    assert rows["| `planner.name`"].startswith("`default` | `default`, `resenc_m`, `resenc_l`, `resenc_xl` | ")
    assert rows["| `augmentation.gamma_range`"].startswith("`[0.7, 1.5]` | [low, high] numbers; above 0 | ")
    assert rows["| `split.group_key`"].startswith("`null` | text, `null` | ")
    assert rows["| `trainer.accelerator`"].startswith("`auto` | `auto`, `cpu`, `gpu`, `cuda`, `mps` | ")


def test_groups_tell_their_default() -> None:
    groups = page().split("## Groups")[1].split("## The main job")[0]
    assert "| `loss` | **`dice_ce`** | Negative soft Dice plus cross-entropy" in groups
    assert "| `network` | `bayesian_unet` | A U-Net with dropout (after Orlando et al. 2019)" in groups
