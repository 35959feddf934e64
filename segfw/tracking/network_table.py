"""What each network would cost on the patches of a command, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from segfw.core.support.words import readable_count, readable_size
from segfw.tracking.numbers import NOTHING, aligned
from segfw.tracking.page import heading, paragraph, table


@dataclass(frozen=True)
class NetworkRow:
    """A network on a configuration, with the command's `plan.*`.

    `flops`: operations of a forward pass over one patch (a multiply-add is two); `memory_gb`: estimated GPU memory of
    training with that patch and batch. None: not to be known.
    """

    configuration: str
    network: str
    parameters: int
    flops: float | None
    memory_gb: float | None


def network_table(rows: Sequence[NetworkRow]) -> str:
    """Return the table with its heading; nothing without rows."""
    if not rows:
        return ""
    operations = aligned([None if row.flops is None else row.flops / 1e9 for row in rows], 4)
    cells = [
        (
            row.configuration,
            row.network,
            readable_count(row.parameters),
            NOTHING if row.flops is None else f"{flops} GFLOP",
            NOTHING if row.memory_gb is None else readable_size(1e9 * row.memory_gb),
        )
        for row, flops in zip(rows, operations, strict=True)
    ]
    note = (
        "On the patch and batch of this command, before either is reduced for a network that needs more memory. "
        "Operations of one forward pass over one patch, a multiply-add counted as two; training takes about three "
        "times as many. Memory: estimated, of training on a GPU."
    )
    return (
        heading("Networks compared", 3)
        + table(("configuration", "network", "parameters", "operations per patch", "GPU memory"), cells)
        + paragraph(note, quiet=True)
    )
