"""Who follows a training or a selection besides its own files: trackers, told what may be told."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from segfw.config import keys
from segfw.core.scoring.selection_record import SelectionRecord
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.settings.tracking import LoggerSettings
from segfw.core.support.conversion import to_plain
from segfw.core.support.ranks import ALONE, Ranks
from segfw.stages.job import Job
from segfw.stages.trainings.runs import load_config, load_logger
from segfw.tracking.building import check_trackers, openers
from segfw.tracking.fan_out import FanOut, telling
from segfw.tracking.figures import PAPER, to_png
from segfw.tracking.plots import geometry_figure
from segfw.tracking.scrubbing import scrub, scrub_text, scrub_words
from segfw.tracking.trackers import Cell, TrackedRun, Tracker
from segfw.training.callbacks.trackers_log import TrackersLog
from segfw.training.loggers import check_own_loggers, own_loggers
from segfw.training.run import FoldRun
from segfw.training.validation import FoldIO

LITERAL = tuple(key.dotted for key in keys(ExperimentSettings) if key.literal)


def check_followers(settings: LoggerSettings) -> None:
    """Raise `UsageError` for a tracker that is not installed, or a logger of the user's that cannot be built."""
    check_trackers(settings)
    check_own_loggers(settings.own)


@contextmanager
def following(run: FoldRun, folder: Path, io: FoldIO, ranks: Ranks = ALONE) -> Iterator[tuple[TrackersLog, ...]]:
    """Yield the callbacks that tell the trackers of the training in `folder`, and close them whatever happens.

    Of several ranks the first alone tells; with metrics.csv alone there is nothing to open.
    """
    settings = load_logger(folder)
    found = _openers(tracked_fold(run, folder), settings) if ranks.leads else {}
    if not found:
        yield ()
        return
    with telling(found, settings.upload) as trackers:
        yield (TrackersLog(run, folder, io, trackers, settings.pictures_every),)


def tracked_fold(run: FoldRun, folder: Path) -> TrackedRun:
    """Describe the training in `folder`, runs/<name>/<planner>/<network>/<configuration>/fold_<k>, by its config.yaml.

    Keys are those of a command line, but that `plan` is the resolved one.
    """
    config = load_config(folder)
    name, planner, network, configuration = folder.parts[-5:-1]
    own, command = config["run"], config.get("command")
    flat = {**(command if isinstance(command, dict) else {}), **(own if isinstance(own, dict) else {})}
    flat |= {key: config.get(key) for key in ("dataset", "callbacks")}
    tags = config.get("tags")
    variant = (name,) if network == "planned" else (name, network)
    cases = (*run.train_cases, *run.val_cases)
    return TrackedRun(
        project=load_logger(folder).project,
        group="/".join(scrub_text(part, cases) for part in (run.plan.dataset_name, planner, configuration)),
        name=" ".join(scrub_text(part, cases) for part in variant) + f" fold {run.fold}",
        kind="train",
        folder=folder,
        root=folder.parents[5],
        tags=scrub_words(tags if isinstance(tags, list) else [], cases),
        config=scrub(flat, cases, LITERAL),
    )


def tell_selection(job: Job, record: SelectionRecord | None) -> None:
    """Tell the trackers what competed and what was packaged: a run of its own, beside the trainings'."""
    settings = job.settings.logger
    told = _tracked_selection(job)
    found = _openers(told, settings)
    if not found:
        return
    with telling(found, settings.upload) as trackers:
        if record is not None:
            trackers.scalars(_selection_scores(record), 0)
            trackers.table("candidates", *candidates_table(record))
        _tell_files(job, trackers)


def _tracked_selection(job: Job) -> TrackedRun:
    settings, cases = job.settings, [case.name for case in job.dataset.cases]
    plain = to_plain(settings)
    return TrackedRun(
        project=settings.logger.project,
        group=scrub_text(job.dataset.name, cases),
        name=f"{scrub_text(settings.name, cases)} selection",
        kind="select",
        folder=job.workspace.runs(settings.name),
        root=job.workspace.root,
        tags=scrub_words(settings.tags, cases),
        config=scrub({key: value for key, value in plain.items() if key != "logger"}, cases, LITERAL),
    )


def _openers(told: TrackedRun, settings: LoggerSettings) -> Mapping[str, Callable[[], Tracker]]:
    return {**openers(told, settings), **own_loggers(settings.own, told)}


def _selection_scores(record: SelectionRecord) -> dict[str, float]:
    """Return the winner's scores, and the mean of every candidate."""
    scores = {"val/dice": record.selection_score}
    scores |= {f"val/dice/{label}": dice for label, dice in record.best.dice_per_label.items()}
    if record.cross_fitted.dice is not None:
        scores["val/dice_cross_fitted"] = record.cross_fitted.dice
    return scores | {f"candidates/{score.name}": score.dice for score in record.scores}


def candidates_table(record: SelectionRecord) -> tuple[list[str], list[list[Cell]]]:
    """Return (columns, rows): every candidate with its cases, folds and Dice; the winner is marked."""
    labels = list(dict.fromkeys(label for score in record.scores for label in score.dice_per_label))
    rows: list[list[Cell]] = [
        [
            score.name,
            int(score.name == record.winner),
            score.num_cases,
            " ".join(map(str, score.folds)),
            score.dice,
            *(score.dice_per_label.get(label) for label in labels),
        ]
        for score in record.scores
    ]
    return ["candidate", "winner", "cases", "folds", "dice", *(f"dice/{label}" for label in labels)], rows


def _tell_files(job: Job, trackers: FanOut) -> None:
    """Tell the plan, the fingerprint's picture and the packaged model, as far as somebody may have them."""
    task = job.dataset.name
    if trackers.keeps("model"):
        given = job.settings.planner.plan_file
        plan = job.workspace.plan(job.settings.planner.name) if given is None else Path(given)
        trackers.files(_artifact_name(f"{task}-plan"), "plan", [plan])
        trackers.files(
            _artifact_name(f"{task}-{job.settings.name}-model"), "model", [job.workspace.model(job.settings.name)]
        )
    if trackers.keeps("fingerprint") and job.workspace.fingerprint.exists():
        picture = job.workspace.report.parent / "fingerprint.png"
        to_png(geometry_figure(job.fingerprint, job.plan, PAPER), picture)
        trackers.files(_artifact_name(f"{task}-fingerprint"), "fingerprint", [picture])


def _artifact_name(text: str) -> str:
    """Return `text` with what trackers do not take in names, such as spaces, replaced."""
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "_" for letter in text)
