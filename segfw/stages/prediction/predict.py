"""Verb `predict`: segment a file, a folder, a table of cases or DICOM series with a packaged model."""

import logging
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from segfw.core.errors import JobError, UsageError
from segfw.core.settings.choices import parse_members
from segfw.core.settings.schema import InferenceSettings
from segfw.core.settings.verbs import PredictSettings
from segfw.core.support.addresses import address_of
from segfw.core.support.words import counted
from segfw.inference.bundle import Bundle, load_bundle
from segfw.inference.predictor import check_trust
from segfw.io.remote.listing import forget, outline
from segfw.stages.models.finding import find_model
from segfw.stages.prediction.claims import CaseList
from segfw.stages.prediction.devices import (
    Order,
    choose_places,
    predictor_on,
    segment_on_devices,
    settings_of,
)
from segfw.stages.prediction.flow import Outcome, segment_cases
from segfw.stages.prediction.inputs import find_cases
from segfw.stages.prediction.outputs import PredictionCase, plan_outputs
from segfw.stages.prediction.ray_devices import choose_cluster_places, segment_in_cluster
from segfw.stages.prediction.signature import refuse_others, signature_of

log = logging.getLogger(__name__)

LISTED = 20


def run(settings: PredictSettings) -> None:
    """Segment every case that is not there yet; `JobError` at the end lists those that failed and why.

    Raises `UsageError`, before anything is computed, where one that is there was made by another model.
    """
    if settings.model is None or settings.input is None or settings.output is None:
        raise UsageError("predict needs model=MODEL input=IMAGES output=FOLDER")
    began = time.monotonic()
    model = find_model(settings.model, settings.model_sha256, settings.model_cache)
    bundle = load_bundle(model, parse_members(settings.inference.folds))
    check_trust(bundle, settings.inference.trust_code)
    inference = settings_of(bundle, settings.inference)
    signature = signature_of(bundle, inference)
    outputs = [replace(case, signature=signature) for case in _planned(settings, bundle, inference)]
    if not settings.overwrite:
        refuse_others(outputs)
    with closing(CaseList(outputs, settings.overwrite)) as cases:
        report = _Report(outputs, cases)
        doing = f"predict: {_counts(cases)}; {_way(bundle, inference)}; on "
        segment = _in_cluster if settings.executor.name == "ray" else _on_this_machine
        segment(settings, model, bundle, cases, report, doing)
        counts = len(report.done), cases.skipped, len(report.failed)
    log.info("predict: %d done, %d skipped, %d failed in %.1f s", *counts, time.monotonic() - began)
    if report.failed:
        raise JobError(
            f"predict: {len(report.failed)} of {counted(len(outputs), 'case')} failed, the others are done:{report}"
        )


def _planned(settings: PredictSettings, bundle: Bundle, inference: InferenceSettings) -> list[PredictionCase]:
    """Find the images and say where their segmentations go; what lies at an address is looked up in its outline."""
    source, output = Path(str(settings.input)), Path(str(settings.output))

    def plan(place: Path) -> list[PredictionCase]:
        images = find_cases(place, bundle.plan.channel_names, settings.data_cache)
        return plan_outputs(images, place, output, inference, settings.inference.output_format)

    if address_of(source) is None:
        return plan(source)
    forget()
    with outline(source) as shown:
        planned = plan(shown.place)
        paths = shown.mirrored(str(image) for case in planned for image in case.images)
        return [replace(case, images=tuple(Path(paths[str(image)]) for image in case.images)) for case in planned]


def _on_this_machine(
    settings: PredictSettings, model: Path, bundle: Bundle, cases: CaseList, report: "_Report", doing: str
) -> None:
    places = choose_places(settings.accelerator, settings.devices, settings.threads)
    places = replace(places, numbers=places.numbers[: max(1, cases.size)])
    log.info("%s%s", doing, places.description)
    if cases.size and len(places.numbers) == 1:
        predictor = predictor_on(places.device, bundle, settings.inference, number=places.numbers[0])
        segment_cases(predictor, cases.take, report)
    elif cases.size:
        order = Order(model, settings.accelerator, places.device.threads, settings.inference)
        segment_on_devices(order, places.numbers, cases, report)


def _in_cluster(
    settings: PredictSettings, model: Path, bundle: Bundle, cases: CaseList, report: "_Report", doing: str
) -> None:
    places = choose_cluster_places(settings.executor, settings.accelerator, settings.devices, settings.threads)
    places = replace(places, tasks=min(places.tasks, max(1, cases.size)))
    log.info("%s%s", doing, places.description)
    if cases.size:
        order = Order(model, settings.accelerator, places.threads, settings.inference)
        segment_in_cluster(order, places, settings.executor, cases, report)


class _Report:
    """Logs what becomes of each case, frees it for others, and keeps the names; may be called from any thread."""

    def __init__(self, outputs: Sequence[PredictionCase], cases: CaseList) -> None:
        self.done: list[str] = []
        self.failed: dict[str, str] = {}
        self._cases = cases
        self._targets = {case.name: case.target for case in outputs}

    def __call__(self, outcome: Outcome) -> None:
        """Take note of a case."""
        name = outcome.name
        self._cases.give_back(name)
        number = len(self.done) + len(self.failed) + 1
        if outcome.failure:
            self.failed[name] = outcome.failure
            reason = "\n".join(filter(None, (outcome.failure, outcome.trace)))
            log.error("%d/%d %s: %s", number, self._cases.size, name, reason)
        else:
            self.done.append(name)
            log.info("%d/%d %s: %s (%.1f s)", number, self._cases.size, name, self._targets[name], outcome.seconds)

    def __str__(self) -> str:
        """List those that failed, one a line."""
        rows = [f"\n  {name}: {why}" for name, why in sorted(self.failed.items())]
        return "".join(rows[:LISTED]) + (f"\n  and {len(rows) - LISTED} more" if len(rows) > LISTED else "")


def _counts(cases: CaseList) -> str:
    return f"{counted(cases.size + cases.skipped, 'case')}, {cases.size} to do, {cases.skipped} skipped as done"


def _way(bundle: Bundle, inference: InferenceSettings) -> str:
    """Say which networks look how often."""
    folds: dict[str, list[str]] = {}
    for member in bundle.members:
        folds.setdefault(member.configuration, []).append(str(member.fold))
    networks = ", ".join(f"{name} (fold{'s' * (len(of) > 1)} {', '.join(of)})" for name, of in folds.items())
    axes = ", ".join(map(str, bundle.mirror_axes)) if inference.mirror else ""
    mirrored = f"mirrored along axes {axes}" if axes else "not mirrored"
    return f"{bundle.plan.dataset_name} {networks}, {mirrored}, step {inference.step_size:g}"
