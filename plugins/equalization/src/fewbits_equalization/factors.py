"""Equalization factors: pure functions of ranges, no graphs.

A channel's factor `f` multiplies what its producers write and divides what its consumers read.
"""

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

TINY = 1e-30


def toward_widest(ranges: Vector, weights: Vector) -> Vector:
    """Return `max_j(r_j m_j) / r_i`, the factor that gives channel `i` the widest range.

    With all `m = 1` every channel may grow as far as the widest one (one-step equalization, Meller
    et al. 2019, section 4); with `m` from the consumers, channels that they hardly use set no
    standard and may shrink (two-step, section 4.1).

    Args:
        ranges: `r`, the largest magnitude in each channel, `(channels,)`.
        weights: `m`, in 0..1, `(channels,)`.

    Returns:
        `(channels,)`; infinite where a channel is empty.

    >>> toward_widest(np.array([1.0, 4.0]), np.ones(2))
    array([4., 1.])
    """
    widest = float((ranges * weights).max(initial=0.0))
    ratios: Vector = np.divide(max(widest, TINY), np.maximum(ranges, TINY))
    ratios[ranges <= 0.0] = np.inf
    return ratios


def importance(consumers: Vector) -> Vector:
    """Return `m_i = max|W_succ[:, i]| / max|W_succ|` over several consumers, at most 1.

    Args:
        consumers: for each consumer, the largest weight that reads each channel,
            `(consumers, channels)`; 0 where it does not read it.
    """
    peaks = consumers.max(axis=1, keepdims=True)
    shares: Vector = (consumers / np.maximum(peaks, TINY)).max(axis=0)
    return shares


def balanced(producers: Vector, consumers: Vector) -> Vector:
    """Return `f_i = √(r2_i / r1_i)`, which makes both ranges of a channel equal.

    Cross-layer equalization (Nagel et al. 2019, equation 11: `s = √(r1 r2) / r2`, `f = 1 / s`).
    Where several layers write or read a channel, each is measured against its own largest
    weight, and the largest share counts.

    Args:
        producers: largest weight of each producer in each channel, `(producers, channels)`.
        consumers: the same of each consumer, `(consumers, channels)`; 0 where it does not read it.

    Returns:
        `(channels,)`. Where one side is empty, the other becomes as large as is usual.

    >>> balanced(np.array([[4.0]]), np.array([[1.0]]))
    array([0.5])
    """
    r1, r2 = _combined(producers), _combined(consumers)
    whole = (r1 > 0.0) & (r2 > 0.0)
    usual = float(np.median(np.sqrt(r1 * r2)[whole])) if whole.any() else 0.0
    if usual <= 0.0:
        return np.ones_like(r1)
    r1, r2 = np.where(r1 > 0.0, r1, usual**2 / np.maximum(r2, TINY)), r2
    r2 = np.where(r2 > 0.0, r2, usual**2 / r1)
    found: Vector = np.sqrt(r2 / r1)
    found[(producers.max(axis=0) <= 0.0) & (consumers.max(axis=0) <= 0.0)] = 1.0
    return found


def sharing_bounds(factors: Vector, reach: Vector, bounds: Vector) -> Vector:
    """Return factors with which one upper bound does for all channels of a clipped tensor.

    A clip at `B` becomes one at `B f_i`. Channels that meet it get one factor, the geometric mean
    of theirs; with `T = B f` for that one, every other one is kept so that
    `f_i B ≥ T ≥ f_i a_i`: then an encoding that ends at `T` implies every bound.

    Args:
        factors: as chosen without regard to the clip, `(channels,)`.
        reach: `a`, the largest value of each channel before rescaling, `(channels,)`.
        bounds: `B` of each channel; infinite where nothing clips.

    >>> sharing_bounds(np.array([1.0, 4.0, 8.0]), np.array([6.0, 6.0, 1.0]), np.full(3, 6.0))
    array([2., 2., 8.])
    """
    clipped = np.isfinite(bounds)
    if not clipped.any():
        return factors
    met = clipped & (reach >= bounds * (1.0 - 1e-6))
    top = (factors * reach)[clipped].max()
    if met.any():
        top = float(np.exp(np.log((factors * bounds)[met]).mean()))
    shared = np.clip(factors, top / bounds, top / np.maximum(reach, top * TINY))
    return np.where(clipped & (top > 0.0), shared, factors)


def _combined(ranges: Vector) -> Vector:
    """Return the largest share in each channel, times the geometric mean of the layers' ranges."""
    peaks = np.maximum(ranges.max(axis=1, keepdims=True), TINY)
    combined: Vector = (ranges / peaks).max(axis=0) * np.exp(np.log(peaks).mean())
    return combined
