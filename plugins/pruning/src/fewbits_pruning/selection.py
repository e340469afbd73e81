"""Which weights go: by ratio or N:M pattern, given how much each one matters."""

from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Keep = NDArray[np.bool_]
_MOST_CHOICES = 100


@dataclass(frozen=True)
class Pattern:
    """At most `kept` weights other than zero in each run of `run` input channels.

    >>> Pattern.parse("2:4")
    Pattern(kept=2, run=4)
    """

    kept: int
    run: int

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        """Read `2:4`.

        Raises:
            ValueError: the text is not of that form, or keeps nothing or everything.
        """
        kept, separator, run = text.partition(":")
        if separator and kept.isdecimal() and run.isdecimal() and 0 < int(kept) < int(run):
            return cls(int(kept), int(run))
        raise ValueError("write N:M with 0 < N < M, such as 2:4")

    def __str__(self) -> str:
        return f"{self.kept}:{self.run}"


def smallest(scores: NDArray[Any], count: int) -> Keep:
    """Return which of the scores are not among the `count` smallest; ties go by position.

    >>> smallest(np.array([3.0, 1.0, 2.0]), 2)
    array([ True, False, False])
    """
    keep = np.ones(scores.size, np.bool_)
    keep[np.argsort(scores, axis=None, kind="stable")[:count]] = False
    return keep.reshape(scores.shape)


def by_pattern(scores: NDArray[Any], pattern: Pattern) -> Keep:
    """Return which weights an N:M pattern keeps: the largest `kept` of each run.

    Args:
        scores: `(…, columns)`, runs along the last axis, whose length is a multiple of `run`.
        pattern: the pattern.
    """
    runs = scores.reshape(*scores.shape[:-1], -1, pattern.run)
    order = np.argsort(runs, axis=-1, kind="stable")
    keep = np.ones(runs.shape, np.bool_)
    np.put_along_axis(keep, order[..., : pattern.run - pattern.kept], False, axis=-1)
    return keep.reshape(scores.shape)


@cache
def choices(pattern: Pattern) -> tuple[tuple[bool, ...], ...] | None:
    """Return every way to keep `kept` of `run` weights; None where they are too many to try."""
    ways = tuple(combinations(range(pattern.run), pattern.kept))
    if len(ways) > _MOST_CHOICES:
        return None
    return tuple(tuple(place in way for place in range(pattern.run)) for way in ways)
