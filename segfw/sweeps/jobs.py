"""What the jobs of a multirun are, by what is swept, and what the command that started them says when some failed."""

import hashlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from segfw.core.settings.choices import parse_configurations, parse_folds, parse_stages
from segfw.core.settings.schema import ConfigurationChoice, ExperimentSettings, FoldChoice
from segfw.core.support.job_board import Posting

Swept = Mapping[str, tuple[Any, ...]]
"""Key -> the values that it takes, one after the other; none where a sweeper draws them."""
SHARED = ("folds", "configurations")
"""Keys whose jobs share a name: what they train competes in one selection."""
SELECTING = ("select", "report")
"""Stages that come after all jobs."""
DIED = "ended without a word (killed, or out of memory?)"


def swept_values(parsed: Iterable[Override]) -> dict[str, tuple[Any, ...]]:
    """Return what the overrides sweep."""
    parser = OverridesParser.create()

    def values(override: Override) -> tuple[Any, ...]:
        if override.is_interval_sweep():
            return ()
        return tuple(parser.parse_override(f"x={text}").value() for text in override.sweep_string_iterator())

    return {override.key_or_group: values(override) for override in parsed if override.is_sweep_override()}


def fold_choices(settings: ExperimentSettings, swept: Swept) -> tuple[FoldChoice, ...]:
    """Return the choices of folds of the jobs that share a name; `UsageError` for one that is none."""
    return tuple(parse_folds(value, None) for value in swept.get("folds", ())) or (settings.folds,)


def configuration_choices(settings: ExperimentSettings, swept: Swept) -> tuple[ConfigurationChoice, ...]:
    """Return the choices of configurations of the jobs that share a name; `UsageError` for one that is none."""
    chosen = tuple(parse_configurations(value) for value in swept.get("configurations", ()))
    return chosen or (settings.configurations,)


def number_of_jobs(swept: Swept) -> int:
    """Return how many jobs a grid over what is swept has."""
    count = 1
    for values in swept.values():
        count *= len(values)
    return count


def variant(overrides: Sequence[str], searched: Iterable[str]) -> str:
    """Return what tells a job's variant from the others', 8 hexadecimal digits of its overrides of `searched` keys."""
    keys = set(searched)
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    varied = sorted(each.input_line or "" for each in parsed if each.key_or_group in keys)
    return hashlib.sha256("\n".join(varied).encode()).hexdigest()[:8]


def what_failed(postings: Sequence[Posting], jobs: int | None, swept: Swept) -> str:
    """Say which jobs of a multirun failed, why, where their logs are, what is missing, and what finishes it.

    `jobs`: how many there were to be, None where nobody knows.
    """
    failed = [posting for posting in postings if posting.state != "done"]
    never = 0 if jobs is None else jobs - len(postings)
    lines = [f"{len(failed) + never} of {jobs or len(postings)} jobs are not done:"]
    lines += [f"  {_row(posting, swept)}" for posting in failed]
    if never:
        lines.append(f"  {never} of them did not begin")
    lines.append("what is finished stays; the same command again goes on with the rest, and then selects")
    for name in dict.fromkeys(posting.name for posting in failed):
        done = next((posting for posting in postings if posting.name == name and posting.state == "done"), None)
        selecting = _selecting(done, name, swept) if name and done is not None else None
        if selecting is not None:
            lines.append(f"to select from what is finished of name={name}: {selecting}")
    return "\n".join(lines)


def _row(posting: Posting, swept: Swept) -> str:
    own = [text for text in posting.overrides if text.partition("=")[0].lstrip("+") in swept]
    if posting.state == "failed":
        why = posting.message
    else:
        why = f"still runs, process {posting.pid}" if posting.is_here else DIED
    return f"job {posting.number} ({' '.join(own)}): {why}; log {posting.log}"


def _selecting(posting: Posting, name: str, swept: Swept) -> str | None:
    """Return the command that selects from all that is finished of the job's variant; None where it was not asked for.

    Which configurations compete stays as it was given, unless each job had its own.
    """
    left_out = {"name", "stages", "folds", *({"configurations"} & swept.keys())}
    kept: list[str] = []
    stages: tuple[str, ...] = SELECTING
    for override in OverridesParser.create().parse_overrides(list(posting.overrides)):
        if override.key_or_group == "stages":
            stages = tuple(stage for stage in SELECTING if stage in parse_stages(override.value()))
        if override.key_or_group not in left_out:
            kept.append(str(override.input_line))
    if not stages:
        return None
    words = [*kept, f"name={name}", f"stages=[{','.join(stages)}]"]
    return f"python -m segfw {shlex.join(words)}"
