"""What a job of a multirun knows of the others, a value that the command which starts them hands to each."""

from dataclasses import dataclass

from segfw.core.settings.schema import ConfigurationChoice, FoldChoice


@dataclass(frozen=True)
class Multirun:
    """The jobs that one command starts with -m.

    `folds`, `configurations`: the choices of the jobs that share a name; each of the ones is trained with each of the
    others. `at_once`: how many jobs work on this computer at the same time. `board`: folder in which they say how they
    stand, made when the command begins.
    """

    folds: tuple[FoldChoice, ...]
    configurations: tuple[ConfigurationChoice, ...]
    at_once: int
    board: str
