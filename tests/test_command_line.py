"""Taking a command line apart, and paths that mean exactly what was typed."""

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from segfw.command_line import VERBS, overview, parse_command, quote, quote_literals, split_list
from segfw.core.errors import UsageError

PATHS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0"), max_size=30)
NASTY = st.text(st.sampled_from("\\'\"${}[]()=,:;~#?*&@! \tabé中"), max_size=20)


@pytest.fixture(scope="module", autouse=True)
def page(tmp_path_factory):
    """A folder with one page, on which a value is composed as the program composes it."""
    folder = tmp_path_factory.mktemp("configs")
    (folder / "page.yaml").write_text("model: null\nother: 1\n")
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(folder), version_base="1.3"):
        yield


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        ([], None),
        (["+task=Task04"], None),
        (["-m", "+task=Task04"], None),
        (["folds=0"], None),
        (["--help"], None),
        (["predict", "model=x"], "predict"),
        (["experiment", "--help"], "experiment"),
    ],
)
def test_the_verb_is_the_first_word_unless_that_is_a_setting_or_a_flag(words, verb):
    assert parse_command(words).verb == verb


def test_an_unknown_verb_names_the_verbs_and_the_nearest():
    with pytest.raises(UsageError, match=r"unknown verb 'predicts', did you mean 'predict'\? There are experiment, "):
        parse_command(["predicts", "model=x"])


def test_flags_may_stand_anywhere():
    command = parse_command(["+task=Task04", "-m", "folds=0,1", "--config-dir", "mine", "-c", "job", "seed=1"])
    assert command.multirun
    assert command.overrides == ("+task=Task04", "folds=0,1", "seed=1")
    assert command.config_dir == "mine"
    assert command.flags == ("--cfg=job", "--multirun")


@pytest.mark.parametrize("plus", ["", "+", "++"])
@pytest.mark.parametrize("group", ["network", "loss"])
def test_arguments_of_networks_and_losses_need_no_plus_and_may_have_one(group, plus):
    words = ["network=vnet", f"{plus}{group}.arguments.dropout=0.3", "~network.arguments.x", "+a.b=1"]
    assert parse_command(words).overrides == (words[0], f"++{group}.arguments.dropout=0.3", *words[2:])


@pytest.mark.parametrize("words", [["+task=Task04", "--folds"], ["+task=Task04", "folds"], ["-c"]])
def test_words_that_mean_nothing_are_refused(words):
    with pytest.raises(UsageError):
        parse_command(words)


def test_the_overview_lists_each_verb_once():
    lines = overview().splitlines()
    assert all(sum(line.startswith(f"  {name} ") for line in lines) == 1 for name in VERBS)


def test_ranges_of_a_search_are_texts_to_hydra_and_need_no_plus():
    words = ["hydra.sweeper.params.optimizer.lr=interval(1,2)", "+hydra.sweeper.params.network='a,b'"]
    command = parse_command(["-m", *words, "hydra.sweeper.storage=a b", "hydra.sweeper.params.seed=null"])
    assert command.overrides == (
        "++hydra.sweeper.params.optimizer.lr='interval(1,2)'",
        "++hydra.sweeper.params.network='a,b'",
        "hydra.sweeper.storage='a b'",
        "++hydra.sweeper.params.seed=null",
    )
    assert command.words == ("-m", *words, "hydra.sweeper.storage=a b", "hydra.sweeper.params.seed=null")


def test_only_paths_are_quoted():
    words = ["model=a,b", "++model=a b", "seed=1,2", "other.model=a,b", "~model", "model=null"]
    assert quote_literals(words, ["model"]) == [
        "model='a,b'", "++model='a b'", "seed=1,2", "other.model=a,b", "~model", "model=null",
    ]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(PATHS | NASTY)
def test_any_text_survives_both_grammars(path):
    if path in ("null", "???"):
        return
    (word,) = quote_literals([f"model={path}"], ["model"])
    override = OverridesParser.create().parse_override(word)
    assert not override.is_sweep_override()
    assert OmegaConf.create({"model": override.value()}).model == path
    assert OmegaConf.create([word])[0]  # Hydra keeps the words of the command line in its own configuration


ODD = ["${oc.env:HOME}", "\\${x}\\\\", "a\\'b\\", "'", '"', "a,b", "", "[x]=~#$ {y}", "\\", "1e3", "true"]


@pytest.mark.parametrize("path", ODD)
def test_a_path_comes_out_of_composition_as_it_was_typed(path):
    composed = hydra.compose("page", quote_literals([f"model={path}"], ["model"]), return_hydra_config=True)
    assert OmegaConf.to_container(composed.hydra.overrides, resolve=True)
    assert composed.model == path


def test_a_file_that_is_called_like_a_missing_value_is_the_same_file():
    assert hydra.compose("page", [f"model={quote('???')}"]).model == "./???"


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("[a,b]", ["a", "b"]),
        ("[ a b , c=d ]", ["a b", "c=d"]),
        ("['a,b',\"c's, d \"]", ["a,b", "c's, d "]),
        ("[it's,b]", ["it's", "b"]),
        ("['a'b,c]", ["'a'b", "c"]),
        ("[a]b,[c]]", ["a]b", "[c]"]),
        ("a,b", ["a,b"]),
        ("[]", []),
        ("[a,]", ["a", ""]),
    ],
)
def test_a_list_of_paths_is_split_at_commas_outside_quotes(text, texts):
    assert split_list(text) == texts


@given(st.lists(PATHS.filter(lambda path: "'" not in path)))
def test_a_quoted_text_of_a_list_may_hold_anything_else(paths):
    quoted = ",".join(f"'{path}'" for path in paths)
    assert split_list(f"[{quoted}]") == paths


@pytest.mark.parametrize("path", [path for path in ODD if "'" not in path and path.strip() == path and "," not in path])
def test_paths_of_a_list_come_out_of_composition_as_they_were_typed(path):
    (word,) = quote_literals([f"model=[{path},b c]"], ["model"], ["model"])
    assert list(hydra.compose("page", [word]).model) == [path, "b c"]
