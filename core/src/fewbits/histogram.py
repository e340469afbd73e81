"""Histograms that merge exactly, whatever the order and the split of the data."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HALF_BINS = 2048


@dataclass(frozen=True)
class Histogram:
    """Counts over bins of width `2^exponent` whose edges are multiples of the width.

    The width is the smallest power of two with which everything seen lies within
    ±`HALF_BINS` bins. Doubling the width joins neighbouring bins exactly, so
    `merge(of(a), of(b)) == of(a + b)` holds bit for bit.

    Args:
        exponent: log2 of the bin width.
        start: index of the first bin; bin `i` covers `[i · 2^exponent, (i + 1) · 2^exponent)`.
        counts: int64, one per bin.
    """

    exponent: int
    start: int
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, samples: NDArray[np.floating]) -> "Histogram":
        """Count finite samples of any shape; there must be at least one.

        >>> Histogram.of(np.array([0.0, 0.5, 1.0])).counts.sum()
        np.int64(3)
        """
        flat = samples.ravel()
        return cls.within(flat, float(np.abs(flat).max()))

    @classmethod
    def within(cls, samples: NDArray[np.floating], bound: float) -> "Histogram":
        """Count samples that are known to lie within ±`bound`; sets the width from it."""
        exponent = width_exponent(bound)
        flat = samples.ravel()
        if exponent > 0:  # small negative float32 values would vanish, and miss bin -1
            flat = flat.astype(np.float64)
        index = np.floor(np.ldexp(flat, -exponent)).astype(np.int64)
        start = int(index.min())
        return cls(exponent, start, np.bincount(index - start).astype(np.int64))

    @property
    def total(self) -> int:
        """Number of samples."""
        return int(self.counts.sum())

    @property
    def width(self) -> float:
        """Width of a bin."""
        return float(np.ldexp(1.0, self.exponent))

    @property
    def centers(self) -> NDArray[np.float64]:
        """Middle of each bin, float64."""
        index = self.start + np.arange(len(self.counts), dtype=np.float64)
        return (index + 0.5) * self.width

    def without_zeros(self) -> "Histogram":
        """Return the same histogram without the spike of exact zeros that a ReLU leaves.

        The bin that begins at zero keeps no more than the fuller of its neighbours.
        """
        place = -self.start
        if not 0 <= place < len(self.counts):
            return self
        counts = self.counts.copy()
        around = [*counts[max(place - 1, 0) : place], *counts[place + 1 : place + 2]]
        counts[place] = min(counts[place], max(around, default=0))
        return Histogram(self.exponent, self.start, counts)

    def coarsen(self, exponent: int) -> "Histogram":
        """Return the same counts over bins of width `2^exponent`, not narrower than now."""
        index = (self.start + np.arange(len(self.counts))) >> (exponent - self.exponent)
        counts = np.bincount(index - index[0], weights=self.counts)
        return Histogram(exponent, int(index[0]), np.rint(counts).astype(np.int64))

    def merge(self, other: "Histogram") -> "Histogram":
        """Return the histogram of both sets of samples."""
        exponent = max(self.exponent, other.exponent)
        parts = (self.coarsen(exponent), other.coarsen(exponent))
        start = min(part.start for part in parts)
        stop = max(part.start + len(part.counts) for part in parts)
        counts = np.zeros(stop - start, np.int64)
        for part in parts:
            offset = part.start - start
            counts[offset : offset + len(part.counts)] += part.counts
        return Histogram(exponent, start, counts)


def width_exponent(bound: float) -> int:
    """Return log2 of the bin width for values within ±`bound`."""
    if bound == 0.0:
        return -126
    _, exponent = np.frexp(bound)
    return max(int(exponent) - int(np.log2(HALF_BINS)), -126)
