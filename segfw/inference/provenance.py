"""Where a packaged model comes from: data, code, settings and scores, without a name of a case, a folder or a host."""

from dataclasses import dataclass, field
from typing import Any

from segfw.core.cases.dataset import Dataset
from segfw.core.cases.places import place_in
from segfw.core.errors import DataError

MAX_TEXT = 500


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

    `created`: date; `trained_by`: the program, empty where that is not known; `dataset`: hash of the dataset's content,
    never its location; `versions`: of the packages that trained it; `code`: commit of a checkout, empty for a release
    and where it is not known; `scores`: figures by name, on `num_scored` whole cases that the networks had not seen (0
    where the number is not known); `settings`: what it was trained with; `made_from`: by which a package that is up to
    date is recognized: the chosen runs and the algorithm's version, or the hashes of imported checkpoints.
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
    trained_by: str = ""


def stated(dataset: Dataset, modality: str, num_cases: int) -> TrainingData:
    """Return what a dataset states of itself, free text at a length that fits a model card.

    Raises `DataError` for a text that holds a path of this machine.
    """
    check_texts(dataset)
    return TrainingData(num_cases, modality, _shortened(dataset.licence), _shortened(dataset.reference))


def check_texts(dataset: Dataset) -> None:
    """Raise `DataError` for free text, names included, that holds a path, which a packaged model would tell."""
    texts = [(key, getattr(dataset, key)) for key in ("name", "licence", "reference")]
    texts += [("channel", name) for name in dataset.channel_names] + [("label", name) for name in dataset.labels.values]
    for key, text in texts:
        place = place_in(text)
        if place is not None:
            raise DataError(
                f"the dataset's {key} holds a path of this machine, which would go into the packaged model: {place!r}; "
                "change it in the dataset's description (dataset.json)"
            )


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."
