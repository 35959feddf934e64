"""Own words for modalities and windows, and what they make of intensities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.cases.dataset import Dataset, Window
from segfw.core.cases.modality import (
    MODALITIES,
    WINDOWS,
    channel_schemes,
    channels_of_modality,
    describe_scheme,
    find_modality,
    find_scheme,
    find_window,
    windowed,
)
from segfw.core.errors import UsageError
from segfw.core.imaging.normalization import normalize_channel, scheme_for_channel
from segfw.core.labels import LabelSet
from segfw.core.plan import IntensityStatistics

STATISTICS = IntensityStatistics(10.0, 9.0, 2.0, 0.0, 20.0, 19.0, 1.0)


def dataset(channels, normalization=(), window=None):
    labels = LabelSet({"background": 0, "x": 1})
    return Dataset("Toy", channels, labels, 1, normalization=normalization, window=window)


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("ct", "CT"),
        ("Computed Tomography", "CT"),
        ("MR", "MRI"),
        ("T1-weighted", "MRI"),
        ("flair", "MRI"),
        ("pt", "PET"),
        ("x-ray", "X-ray"),
        ("Xray", "X-ray"),
        ("CR", "X-ray"),
        ("us", "ultrasound"),
        ("Electron_Microscopy", "microscopy"),
        ("H&E", "histology"),
        ("colonoscopy", "endoscopy"),
        ("mammogram", "mammography"),
    ],
)
def test_words_are_known_in_any_spelling(word, name):
    assert find_modality(word, "task.modality") == name


def test_no_word_means_two_things():
    words = [word.casefold() for name, synonyms in MODALITIES.items() for word in (name, *synonyms)]
    assert len(set(words)) == len(words)


def test_only_ct_is_clipped():
    assert [name for name in MODALITIES if scheme_for_channel(name) == "ct"] == ["CT"]


def test_an_unknown_word_lists_the_known():
    with pytest.raises(
        UsageError, match=r"task.modality: unknown modality 'MRJ', did you mean 'mr.*There are CT, CBCT"
    ):
        find_modality("MRJ", "task.modality")


def test_colors_are_three_channels_unless_files_are_channels():
    assert channels_of_modality("photo", 1, "") == ("R", "G", "B")
    assert channels_of_modality("photo", 2, "") == ("photo", "photo")
    assert channels_of_modality("fluorescence", 1, "") == ("fluorescence",)


@pytest.mark.parametrize("name", list(WINDOWS))
def test_windows_have_names_in_any_spelling(name):
    assert find_window(name.upper().replace(" ", "-"), "task.window") == Window(*WINDOWS[name])


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("lungs", r"task.window: unknown CT window 'lungs', did you mean 'lung'.*lung \(-600/1500\).*level: 40"),
        ({"level": 40}, r"must be \{level: 40, width: 400\} .* got \{'level': 40\}"),
        ({"level": 40, "width": 0}, "width must be above 0 HU, got 0"),
        ({"level": "x", "width": 1}, "level must be a number of HU, got 'x'"),
        ({"level": float("nan"), "width": 1}, "level must be a number of HU, got nan"),
        ([40, 400], r"got \[40, 400\]"),
    ],
)
def test_wrong_windows_are_explained(stated, message):
    with pytest.raises(UsageError, match=message):
        find_window(stated, "task.window")


def test_schemes_follow_names_unless_stated():
    assert channel_schemes(dataset(("CT", "PET"))) == ("ct", "zscore")
    assert channel_schemes(dataset(("CT", "PET"), (None, "rescale_to_0_1"))) == ("ct", "rescale_to_0_1")
    with pytest.raises(UsageError, match=r"one entry for each of the 2 channels \['CT', 'PET'\], got \['ct'\]"):
        channel_schemes(dataset(("CT", "PET"), ("ct",)))
    with pytest.raises(UsageError, match="There are ct, zscore, nonorm, rescale_to_0_1, rgb_to_0_1, and null"):
        find_scheme("minmax", "task.normalization")


def test_a_window_needs_a_ct_channel():
    assert channel_schemes(dataset(("abdomen",), ("ct",), Window(40, 400))) == ("ct",)
    with pytest.raises(UsageError, match=r"task.window is for CT, but the channels \['MRI'\] are normalized as"):
        channel_schemes(dataset(("MRI",), (), Window(40, 400)))


@given(st.floats(-1000, 1000), st.floats(1, 4000))
def test_a_window_is_scaled_to_minus_one_and_one(level, width):
    statistics = windowed(STATISTICS, Window(level, width))
    voxels = np.array([[[-5000, level - width / 2, level, level + width / 2, 5000]]], np.float32)
    scaled = normalize_channel(voxels, None, "ct", statistics)
    np.testing.assert_allclose(scaled.ravel(), [-1, -1, 0, 1, 1], atol=1e-3)
    assert (statistics.median, statistics.min, statistics.max) == (9.0, 0.0, 20.0)
    assert "scaled to -1..1" in describe_scheme("ct", False, statistics)


def test_schemes_are_told_in_words():
    window = windowed(STATISTICS, Window(40, 400))
    assert describe_scheme("ct", False, window) == "clipped to -160..240 HU (window 40/400), scaled to -1..1"
    assert "clipped to 1..19 HU (percentiles 0.5 and 99.5" in describe_scheme("ct", False, STATISTICS)
    assert describe_scheme("zscore", True, STATISTICS) == "z-score of each image, inside the nonzero mask"
    assert describe_scheme("zscore", False, STATISTICS) == "z-score of each image"
    assert describe_scheme("rescale_to_0_1", False, STATISTICS) == "each image scaled to 0..1"
