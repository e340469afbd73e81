"""How samples go through a network while it is measured."""

from dataclasses import dataclass

from fewbits.interfaces import Progress, silent


@dataclass(frozen=True)
class Pass:
    """How samples go through a network.

    Args:
        batch_size: samples per run.
        threads: threads of the runtime; None lets it choose.
        progress: told how far the work is.
    """

    batch_size: int = 2
    threads: int | None = None
    progress: Progress = silent
