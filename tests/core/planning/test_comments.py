"""The comments of a plan state the thresholds that its rules go by."""

import dataclasses
import importlib

import pytest

from segfw.core.imaging import resampling
from segfw.core.plan import Configuration, Plan
from segfw.core.planning import comments, fingerprint, patch_size, planning, spacing, topology

CHANGES = [
    (fingerprint, "PERCENTILES", (1.5, 50.0, 98.5), "COMMENTS", "intensities", "1.5 and 98.5"),
    (planning, "LOWRES_BELOW", 0.2, "COMMENTS", "configurations", "less than 20 %"),
    (planning, "LOWRES_MIN_RATIO", 3.0, "COMMENTS", "configurations", "3 times fewer"),
    (planning, "LOWRES_STEP", 1.05, "CONFIGURATION_COMMENTS", "spacing", "grown by 5 %"),
    (planning, "MASK_NORMALIZATION_BELOW", 0.5, "CONFIGURATION_COMMENTS", "normalization_schemes", "than 50 %"),
    (spacing, "COARSE_AXIS_PERCENTILE", 20.0, "CONFIGURATION_COMMENTS", "spacing", "20th percentile"),
    (spacing, "ANISOTROPY_THRESHOLD", 4.0, "CONFIGURATION_COMMENTS", "spacing", "1/4 of their voxels"),
    (patch_size, "MIN_BATCH_SIZE", 5, "CONFIGURATION_COMMENTS", "patch_size", "at least 5"),
    (patch_size, "MAX_FEATURES", {2: 64, 3: 48}, "CONFIGURATION_COMMENTS", "architecture", "64 (2D) or 48 (3D)"),
    (topology, "POOLING_SPACING_RATIO", 1.5, "CONFIGURATION_COMMENTS", "kernel_sizes", "1.5 times as long"),
    (topology, "MIN_FEATURE_MAP_EDGE", 6, "CONFIGURATION_COMMENTS", "kernel_sizes", "while 6 voxels"),
    (resampling, "ANISOTROPY", 3.5, "CONFIGURATION_COMMENTS", "resampling", "over 3.5 times"),
]


@pytest.mark.parametrize(("module", "constant", "value", "table", "key", "said"), CHANGES, ids=[c[1] for c in CHANGES])
def test_a_threshold_is_stated_where_it_is_declared(monkeypatch, module, constant, value, table, key, said):
    assert said not in getattr(comments, table)[key]
    with monkeypatch.context() as patch:
        patch.setattr(module, constant, value)
        importlib.reload(comments)
        assert said in getattr(comments, table)[key]
    importlib.reload(comments)


def test_comments_belong_to_keys_that_there_are():
    configuration = {field.name for field in dataclasses.fields(Configuration)} | {"inherits"}
    assert {field.name for field in dataclasses.fields(Plan)} >= set(comments.COMMENTS)
    assert configuration >= set(comments.CONFIGURATION_COMMENTS)
