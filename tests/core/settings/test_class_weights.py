"""Weights of classes by name and by position."""

import pytest

from segfw.core.errors import UsageError
from segfw.core.labels import LabelSet
from segfw.core.settings.class_weights import weight_per_class

LABELS = LabelSet({"background": 0, "tumour": 2, "organ": 1, "ignore": 3})
REGIONS = LabelSet({"background": 0, "whole": (1, 2), "core": 2}, (1, 2))


def test_names_find_their_place_and_the_others_weigh_1() -> None:
    assert weight_per_class(None, LABELS) is None
    assert weight_per_class({"tumour": 5}, LABELS) == (1, 1, 5)
    assert weight_per_class({"background": 0.5}, LABELS) == (0.5, 1, 1)
    assert weight_per_class((1, 2, 3), LABELS) == (1, 2, 3)
    assert weight_per_class({"core": 3}, REGIONS) == (1, 3)


def test_what_fits_no_class_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'tumor' is no class, did you mean 'tumour'"):
        weight_per_class({"tumor": 5}, LABELS)
    with pytest.raises(UsageError, match=r"'background' is no class.*\['whole', 'core'\]"):
        weight_per_class({"background": 1}, REGIONS)
    with pytest.raises(UsageError, match=r"needs 3 weights, of \['background', 'organ', 'tumour'\].*got \[1.0, 2.0\]"):
        weight_per_class((1, 2), LABELS)
    for weights in ((0.0, 0.0, 0.0), (1.0, -2.0, 1.0), (1.0, float("nan"), 1.0)):
        with pytest.raises(UsageError, match=r"at least 0 and not all 0, got \["):
            weight_per_class(weights, LABELS)
