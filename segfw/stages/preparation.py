"""Preprocessing one case for every configuration that wants it: what the workers of stage `preprocess` run.

A module of its own, so that a process that only preprocesses loads neither PyTorch nor Lightning.
"""

from collections.abc import Mapping
from pathlib import Path

from segfw.core.cases.dataset import Case
from segfw.core.imaging.preprocessing import preprocess_case
from segfw.core.plan import Plan
from segfw.core.support.locks import Lock
from segfw.data.case_files import save_case
from segfw.io.formats.readers import read_image, read_label

Order = tuple[Case, Mapping[str, Path], Mapping[str, str]]
"""A case, configuration -> folder of the store that lacks it, and input -> hash for the case's record."""


def prepare_case(plan: Plan, remap: Mapping[int, int], order: Order, locks: Mapping[Path, Lock] | None = None) -> None:
    """Read a case once and save it as each configuration of `order` wants it.

    `locks`: of the stores, where others may want them. Raises `ArtefactError`, and saves nothing, where another command
    has taken one meanwhile.
    """
    case, stores, made_from = order
    image = read_image(case.images)
    label = None if case.label is None else read_label(case.label, remap)
    for configuration, store in stores.items():
        prepared = preprocess_case(image, label, plan, plan.configuration(configuration))
        if locks:
            locks[store].check()
        save_case(store, case.name, prepared, made_from)
