"""Datasets and fingerprints for the tests of planning."""

from hypothesis import strategies as st

from segfw.core.cases.dataset import Dataset
from segfw.core.labels import LabelSet
from segfw.core.plan import Fingerprint, IntensityStatistics
from segfw.core.planning import planners

STATISTICS = IntensityStatistics(10.0, 9.0, 2.0, 0.0, 20.0, 19.0, 1.0)
PLANNERS = list(planners.PLANNERS)


def dataset(num_training=20, channels=("MRI",), labels=3):
    values = {"background": 0, **{f"label{i}": i for i in range(1, labels)}}
    return Dataset("Synthetic", channels, LabelSet(values), num_training)


def fingerprint(cases, channels=1, ratio=1.0):
    spacings, shapes = zip(*cases, strict=True)
    return Fingerprint(spacings, shapes, (STATISTICS,) * channels, ratio)


@st.composite
def fingerprints(draw):
    """Draw fingerprints of 1 to 6 cases around a common grid: flat, elongated, microscopic or huge."""
    edge = st.integers(1, 12) | st.integers(1, 1000)
    spacing = st.floats(0.05, 20)
    base = draw(st.tuples(spacing, spacing, spacing)), draw(st.tuples(edge, edge, edge))
    vary = st.floats(0.7, 1.4)
    cases = []
    for _ in range(draw(st.integers(1, 6))):
        factors = draw(st.tuples(vary, vary, vary))
        sizes = tuple(max(1, round(n * draw(vary))) for n in base[1])
        cases.append((tuple(s * f for s, f in zip(base[0], factors, strict=True)), sizes))
    return fingerprint(cases, ratio=draw(st.floats(0.01, 1)))
