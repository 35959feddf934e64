"""The postprocessing that nnU-Net v2 chose for a trained model, from its JSON; its pickle is never opened.

`find_best_configuration` leaves it beside the model's cross-validation, `crossval_results_folds_0_1_.../`, where
`postprocessing_fns` names functions and `postprocessing_kwargs` their arguments; the only function that nnU-Net has
keeps the largest component of a label, of a region or of several of these together.
"""

import re
from collections.abc import Sequence
from typing import Any

from segfw.core.errors import ArtefactError, UsageError
from segfw.core.labels import LabelKey, LabelSet
from segfw.core.scoring.postprocessing import Step, check_steps, step_in_words
from segfw.inference.model_manifest import Fold
from segfw.interop.model_files import ModelFiles
from segfw.interop.nnunet import parse_object
from segfw.interop.nnunet_folder import FoundModel

KEEP_LARGEST = "remove_all_but_largest_component_from_segmentation"
_FILE = "crossval_results_folds_*/postprocessing.json"
_FOLDS = re.compile(r"crossval_results_folds_([^/]+)/postprocessing\.json$")


def read_postprocessing(
    files: ModelFiles, models: Sequence[FoundModel], folds: Sequence[Fold], labels: LabelSet
) -> tuple[tuple[Step, ...], list[str]]:
    """Return the steps that were chosen for these folds of a model, and what its user should know of them.

    Those of another choice of folds are not taken, nor any for the average of several models, for which they were not
    chosen. Raises `ArtefactError` for a file that is garbled, that names another function, or labels that the model
    lacks.
    """
    there = [name for found in models for name in found.find(files, _FILE)]
    if len(models) > 1:
        return (), ["the postprocessing chosen for each model alone is not imported for their average"] if there else []
    wanted = "_".join("all" if fold == "full" else str(fold) for fold in folds)
    fitting = [name for name in there if (match := _FOLDS.search(name)) and match[1] == wanted]
    if not fitting:
        others = ", ".join(name.rpartition("/")[0].rpartition("/")[2] for name in there)
        return (), [f"the postprocessing of {others} was chosen for other folds and is not imported"] if there else []
    place = files.place(fitting[0])
    steps = steps_from_json(parse_object(files.read(fitting[0]), place), labels, place)
    if not steps:
        return (), []
    words = "; ".join(step_in_words(step, labels) for step in steps)
    return steps, [
        f"the postprocessing that nnU-Net chose is part of the model: {words}; nnUNetv2_predict leaves it to "
        "nnUNetv2_apply_postprocessing, and inference.postprocessing=false leaves it out here"
    ]


def steps_from_json(content: dict[str, Any], labels: LabelSet, place: str) -> tuple[Step, ...]:
    """Return the steps that nnU-Net's postprocessing.json describes; `place`: the file, for messages."""
    names, arguments = content.get("postprocessing_fns"), content.get("postprocessing_kwargs")
    if not isinstance(names, list) or not isinstance(arguments, list) or len(names) != len(arguments):
        raise ArtefactError(
            f"{place}: postprocessing_fns and postprocessing_kwargs must be lists of one length, got {names!r} and "
            f"{arguments!r}"
        )
    try:
        steps = tuple(_step(name, given) for name, given in zip(names, arguments, strict=True))
        check_steps(steps, labels)
    except UsageError as error:
        raise ArtefactError(f"{place}: {error}") from error
    return steps


def _step(name: Any, arguments: Any) -> Step:
    if name != KEEP_LARGEST:
        raise UsageError(f"postprocessing_fns: only {KEEP_LARGEST} has an equivalent, got {name!r}")
    if not isinstance(arguments, dict) or not set(arguments) <= {"labels_or_regions", "background_label"}:
        raise UsageError(f"postprocessing_kwargs must hold labels_or_regions, got {arguments!r}")
    if arguments.get("background_label", 0) != 0:
        raise UsageError(f"postprocessing_kwargs.background_label must be 0, got {arguments['background_label']!r}")
    return Step("keep_largest", _values(arguments.get("labels_or_regions")))


def _values(given: Any) -> LabelKey:
    """Return the values of a label, a region, or the union of a list of these, ascending."""
    entries = [value for entry in given for value in _values(entry)] if isinstance(given, list) else [given]
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in entries):
        raise UsageError(f"labels_or_regions must be label values or lists of these, got {given!r}")
    return tuple(sorted(set(entries)))
