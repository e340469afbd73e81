"""How long work tells how far it is."""

from collections.abc import Callable

#: called as `progress(label, done, total, unit)`; `total` is None where it is not known.
Progress = Callable[[str, int, int | None, str], None]


def silent(label: str, done: int, total: int | None, unit: str) -> None:
    """Report progress to nobody."""
