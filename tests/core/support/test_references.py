"""Text with `${` reaches the program as it was typed."""

from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from segfw.core.support.references import escape_references


def test_only_what_would_be_a_reference_is_escaped():
    assert escape_references(r"a\b $x {y}") == r"a\b $x {y}"
    assert escape_references("${a}") == r"\${a}"


@given(st.text(alphabet=r"\${}a", max_size=12))
def test_omegaconf_gives_back_what_was_escaped(text):
    assert OmegaConf.to_container(OmegaConf.create({"key": escape_references(text)}), resolve=True) == {"key": text}
