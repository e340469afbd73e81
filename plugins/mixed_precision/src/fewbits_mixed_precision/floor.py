"""Accuracy that a choice must keep, as the target's emulator measures it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fewbits_mixed_precision.measures import decibels

T = TypeVar("T")


@dataclass(frozen=True)
class Measured:
    """What the emulator gave for one choice of modes.

    Args:
        noise: at the outputs, as a share of the signal, `(samples,)`.
        drop: points of top-1 below the float network; None without labels.
    """

    noise: NDArray[np.float64]
    drop: float | None = None

    @property
    def snr(self) -> float:
        """Mean SNR over the samples in dB."""
        return decibels(self.noise)


@dataclass(frozen=True)
class Floor:
    """What is asked; None asks nothing.

    Args:
        min_snr: mean SNR in dB, at least.
        max_drop: points of top-1 lost, at most.
    """

    min_snr: float | None = None
    max_drop: float | None = None

    def __bool__(self) -> bool:
        return self.min_snr is not None or self.max_drop is not None

    def fault(self, measured: Measured) -> str:
        """Return what a choice falls short of; empty if nothing."""
        if self.min_snr is not None and measured.snr < self.min_snr:
            return f"an SNR of {measured.snr:.2f} dB, below min_snr={self.min_snr:g}"
        if self.max_drop is not None and (measured.drop or 0.0) > self.max_drop:
            return f"{measured.drop:.2f} points of top-1 lost, above max_drop={self.max_drop:g}"
        return ""


def last_good(front: Sequence[T], good: Callable[[T], bool]) -> T | None:
    """Return the last of a front that is good, by bisection; None if the first is not.

    Good ones are taken to come first, as accuracy falls along a front. Measurement is not strictly
    so: what is returned has been found good, one beyond it may be too.

    >>> last_good([1, 2, 3, 4, 5], lambda x: x < 4)
    3
    """
    if not front or not good(front[0]):
        return None
    low, high = 0, len(front)
    while high - low > 1:
        middle = (low + high) // 2
        if good(front[middle]):
            low = middle
        else:
            high = middle
    return front[low]
