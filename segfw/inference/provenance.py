"""Where a packaged model comes from: data, code, settings and scores, without a name of a case, a folder or a host."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class TrainingData:
    """What the training data were.

    `num_cases`: of the whole dataset; `channels` and labels stand in the plan; `modality`: the task's word for it;
    `licence` and `reference`: as the dataset states them. Empty where nothing is known.
    """

    num_cases: int = 0
    modality: str = ""
    licence: str = ""
    reference: str = ""


@dataclass(frozen=True)
class Provenance:
    """Where a model comes from.

    `created`: date; `dataset`: hash of the dataset's content, never its location; `versions`: of the packages that
    trained it; `code`: commit of a checkout, empty for a release; `scores`: cross-validated figures by name, on
    `num_scored` whole cases; `settings`: what it was trained with; `made_from`: hashes of its runs.
    """

    created: str = ""
    dataset: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    made_from: dict[str, str] = field(default_factory=dict)
    code: str = ""
    num_scored: int = 0
    data: TrainingData = field(default_factory=TrainingData)
