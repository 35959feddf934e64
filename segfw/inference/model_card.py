"""The model card: what a packaged model is, in words, after "Model Cards for Model Reporting" (Mitchell et al. 2019).

It is made from the manifest alone, so it says nothing that the package does not hold, and names no case or place.
"""

from collections.abc import Iterable, Iterator, Sequence

from segfw.core.plan import Configuration, Plan
from segfw.core.scoring.postprocessing import Step, step_in_words
from segfw.inference.provenance import Provenance

NOT_STATED = "not stated"
OURS = "segfw"


def model_card(
    plan: Plan,
    members: Sequence[tuple[str, int | str, str]],
    provenance: Provenance,
    postprocessing: Sequence[Step] = (),
    folds: Sequence[int | str] | None = None,
) -> str:
    """Return the card as Markdown. `members`: (configuration, fold, architecture) of each set of weights.

    `postprocessing`: the steps that predicting applies, and `folds`: those that predict (None: all), unless it is told
    otherwise.
    """
    labels = ", ".join(name for name, _ in plan.labels.foreground)
    lines = [
        f"# {_line(plan.dataset_name)}: segmentation of {_line(labels)}",
        "",
        f"A model of {_count(len(members), 'network')}, packaged by segfw.",
        *_section("How to predict", _how_to_predict(plan)),
        *_section("Input and output", _input_and_output(plan)),
        *_section("Training data", _training_data(plan, provenance)),
        *_section("Scores", _scores(members, provenance, bool(postprocessing))),
        *_section("Networks", _networks(plan, members, folds)),
        *(_section("Postprocessing", _postprocessing(plan, postprocessing)) if postprocessing else ()),
        *_section("Intended use and limits", _limits(plan)),
        *_section("Where it comes from", _origin(provenance)),
    ]
    return "\n".join(lines) + "\n"


def _section(title: str, lines: Iterable[str]) -> list[str]:
    return ["", f"## {title}", "", *lines]


def _how_to_predict(plan: Plan) -> Iterator[str]:
    yield "```bash"
    yield "python -m segfw predict model=THIS_FOLDER_OR_ZIP input=IMAGE_OR_FOLDER output=FOLDER"
    yield "```"
    if len(plan.channel_names) > 1:
        numbered = ", ".join(f"`CASE_{i:04d}` {_line(name)}" for i, name in enumerate(plan.channel_names))
        yield f"\nThe channels of a case are files of their own: {numbered}."


def _input_and_output(plan: Plan) -> Iterator[str]:
    schemes = next(iter(plan.configurations.values())).normalization_schemes
    yield from _table(
        ("channel", "name", "normalization"),
        [(i, *pair) for i, pair in enumerate(zip(plan.channel_names, schemes, strict=True))],
    )
    yield ""
    values = [(name, ", ".join(map(str, key))) for name, key in plan.labels.foreground]
    yield from _table(("region" if plan.labels.has_regions else "label", "values"), values)
    yield ""
    spacing, shape = plan.original_median_spacing_after_transp, plan.original_median_shape_after_transp
    yield f"Typical image: {_sizes(shape)} voxels of {_sizes(spacing)} mm (planned axis order)."


def _training_data(plan: Plan, provenance: Provenance) -> Iterator[str]:
    data = provenance.data
    yield f"- Dataset: {_line(plan.dataset_name)}"
    yield f"- Modality: {_line(data.modality or ', '.join(plan.channel_names))}"
    yield f"- Cases: {data.num_cases or NOT_STATED}"
    yield f"- Licence: {_line(data.licence or NOT_STATED)}"
    yield f"- Reference: {_line(data.reference or NOT_STATED)}"


def _scores(
    members: Sequence[tuple[str, int | str, str]], provenance: Provenance, postprocessed: bool
) -> Iterator[str]:
    if not provenance.scores:
        yield "None are stated on cases that the networks had not seen."
        return
    scored, there = provenance.num_scored, provenance.data.num_cases
    folds = ", ".join(dict.fromkeys(str(fold) for _, fold, _ in members))
    how = "segmented whole by a network that was not trained on it"
    if not scored:
        yield f"By the validation of the folds {folds}: each case {how}. Number of cases: {NOT_STATED}."
    elif scored == there:
        yield f"Cross-validated: each of {_count(scored, 'case')} was {how}."
    else:
        of_all = f"{scored} of {_count(there, 'case')}" if there else _count(scored, "case")
        yield f"Validated on {of_all}, those that the folds {folds} left out: each was {how}."
    if postprocessed:
        yield "The figures are of segmentations before postprocessing, which predicting applies (see below)."
    yield ""
    rows = [(name, f"{value:.4f}") for name, value in provenance.scores.items()]
    yield from _table(("figure", "mean"), rows)


def _networks(
    plan: Plan, members: Sequence[tuple[str, int | str, str]], predicting: Sequence[int | str] | None
) -> Iterator[str]:
    for name in dict.fromkeys(configuration for configuration, _, _ in members):
        configuration = plan.configuration(name)
        folds = ", ".join(str(fold) for of, fold, _ in members if of == name)
        fed = f"; takes the segmentation of `{configuration.previous_stage}`" if configuration.previous_stage else ""
        yield f"- `{name}`: {_architecture(configuration, members, name)}, folds {folds}; {_grid(configuration)}{fed}"
    if predicting is not None:
        yield ""
        yield f"Of their folds, {', '.join(map(str, predicting))} predict (unless `inference.folds=` names others)."


def _postprocessing(plan: Plan, steps: Sequence[Step]) -> Iterator[str]:
    yield "Segmentations, never probabilities, are changed in this order (unless `inference.postprocessing=false`):"
    yield ""
    for number, step in enumerate(steps, 1):
        yield f"{number}. {_line(step_in_words(step, plan.labels))}"


def _architecture(configuration: Configuration, members: Sequence[tuple[str, int | str, str]], name: str) -> str:
    words = dict.fromkeys(network for of, _, network in members if of == name)
    return " and ".join(configuration.architecture if word == "planned" else word for word in words)


def _grid(configuration: Configuration) -> str:
    features = ", ".join(map(str, configuration.features_per_stage))
    return (
        f"patches of {_sizes(configuration.patch_size)} voxels of {_sizes(configuration.spacing)} mm, "
        f"features {features}"
    )


def _limits(plan: Plan) -> Iterator[str]:
    yield f"For research on images like those it was trained on: {_line(', '.join(plan.channel_names))}, of the same"
    yield "body part, field of view and quality. It is no medical device and must not decide about a patient."
    yield "It was not tested on other scanners, protocols, populations or diseases than the training data hold, finds"
    yield "only what is listed above, and marks something even where nothing of it is in the image. Look at results."


def _origin(provenance: Provenance) -> Iterator[str]:
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions.items())
    unknown = "a released version" if provenance.trained_by == OURS else NOT_STATED
    yield f"- Trained by: {_line(provenance.trained_by or NOT_STATED)}, with {versions or 'versions ' + NOT_STATED}"
    yield f"- Packaged: {provenance.created or NOT_STATED}"
    yield f"- Code: {provenance.code or unknown}"
    yield f"- Dataset, hash of its content: {provenance.dataset or NOT_STATED}"
    yield "- Settings of the training: `provenance.settings` in `model.yaml`"


def _table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(_line(str(cell)) for cell in row)} |"


def _line(text: str) -> str:
    """Return free text as one line that means nothing to Markdown's tables, links or HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")


def _sizes(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
