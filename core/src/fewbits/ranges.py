"""Which interval of real values an activation's encoding should cover."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fewbits.histogram import Histogram

SHRINK = np.linspace(1.0, 0.2, 81)
BINS_PER_LEVEL = 4


def percentile_range(histogram: Histogram, percentile: float) -> tuple[float, float]:
    """Return the interval that leaves `100 − percentile` percent of the samples out per side.

    Args:
        histogram: samples of the tensor.
        percentile: such as 99.99; 100 keeps all.
    """
    cumulative = np.cumsum(histogram.counts) / histogram.total
    edges = (histogram.start + np.arange(len(histogram.counts) + 1)) * histogram.width
    outside = 1.0 - percentile / 100.0
    low = edges[int(np.searchsorted(cumulative, outside, side="right"))]
    high = edges[int(np.searchsorted(cumulative, 1.0 - outside, side="left")) + 1]
    return min(float(low), 0.0), max(float(high), 0.0)


def mse_range(histogram: Histogram, low: float, high: float, bits: int) -> tuple[float, float]:
    """Return the interval with the least mean squared quantization error.

    Searches fractions of `[low, high]`, first of both ends together, then of each alone. The exact
    extremes count as one more sample each, lest an unseen end be cut off where bits are many.

    Args:
        histogram: samples of the tensor.
        low: exact smallest value, or 0.
        high: exact largest value, or 0.
        bits: width of the encoding.
    """
    seen = histogram.merge(Histogram.of(np.array([low, high])))
    return _least(low, high, lambda lows, highs: quantization_errors(seen, lows, highs, bits))


def _least(
    low: float,
    high: float,
    loss: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
) -> tuple[float, float]:
    """Return the interval of least loss: fractions of both ends together, then of each alone."""
    best = _first_least(low * SHRINK, high * SHRINK, loss)
    if low < 0.0 < high:
        best = _first_least(low * SHRINK, np.full_like(SHRINK, best[1]), loss)
        best = _first_least(np.full_like(SHRINK, best[0]), high * SHRINK, loss)
    return best


def _first_least(
    lows: NDArray[np.float64],
    highs: NDArray[np.float64],
    loss: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
) -> tuple[float, float]:
    place = int(np.argmin(loss(lows, highs)))
    return float(lows[place]), float(highs[place])


def quantization_errors(
    histogram: Histogram, lows: NDArray[np.float64], highs: NDArray[np.float64], bits: int
) -> NDArray[np.float64]:
    """Return the mean squared error of asymmetric encodings over a histogram.

    Inside an interval a sample is off by `scale² / 12` on average, or, where the bins are finer
    than the grid, by the distance of its bin to the grid; outside it is off by its distance to
    the end. A spike at zero is exact. Sums over a level's bins come from cumulative moments, so
    that the cost follows the levels and not the bins.

    Args:
        histogram: samples of the tensor.
        lows: lower ends of the intervals, at most 0, `(intervals,)`.
        highs: upper ends, at least 0, `(intervals,)`.
        bits: width of the encoding.

    Returns:
        float64, `(intervals,)`; infinite for an empty interval.
    """
    levels = (1 << bits) - 1
    scales = (np.asarray(highs, np.float64) - lows) / levels
    rest = histogram.without_zeros()
    sums = _cumulative_moments(rest)
    errors = np.full(scales.shape, np.inf if rest.total else 0.0)
    fine = scales < 4.0 * rest.width
    some = fine & (scales > 0.0)
    errors[some] = _smooth_errors(rest, sums, lows[some], highs[some], scales[some], levels)
    some = ~fine
    errors[some] = _stepped_errors(rest, sums, lows[some], scales[some], levels)
    return errors / max(histogram.total, 1)


def _cumulative_moments(histogram: Histogram) -> NDArray[np.float64]:
    """Return sums of `counts · x^k` over the bins before each edge, `(3, bins + 1)`."""
    x, counts = histogram.centers, histogram.counts
    sums = np.zeros((3, len(counts) + 1))
    np.cumsum([counts, counts * x, counts * np.square(x)], axis=1, out=sums[:, 1:])
    return sums


def _bins_below(histogram: Histogram, x: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return how many bins have their centre below each `x`."""
    place = np.ceil(x / histogram.width - histogram.start - 0.5)
    return np.clip(place, 0, len(histogram.counts)).astype(np.int64)


def _squares(moments: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `Σ counts · (centre − x)²` of sets of bins with these moments, `(3, …)`."""
    squares: NDArray[np.float64] = moments[2] - 2.0 * x * moments[1] + np.square(x) * moments[0]
    return squares


def _smooth_errors(
    histogram: Histogram,
    sums: NDArray[np.float64],
    lows: NDArray[np.float64],
    highs: NDArray[np.float64],
    scales: NDArray[np.float64],
    levels: int,
) -> NDArray[np.float64]:
    """Return the summed squared errors on grids about as fine as the bins, or finer."""
    bottom = np.rint(lows / scales)
    below = sums[:, _bins_below(histogram, lows)]
    until = sums[:, _bins_below(histogram, highs)]
    inside = (until[0] - below[0]) * np.square(scales) / 12.0
    over = sums[:, -1:] - until
    ends = (bottom * scales, (bottom + levels) * scales)
    total: NDArray[np.float64] = inside + _squares(below, ends[0]) + _squares(over, ends[1])
    return total


def _stepped_errors(
    histogram: Histogram,
    sums: NDArray[np.float64],
    lows: NDArray[np.float64],
    scales: NDArray[np.float64],
    levels: int,
) -> NDArray[np.float64]:
    """Return the summed squared errors on grids of several bins a step."""
    steps = scales[:, None]
    bottom = np.rint(lows / scales)[:, None]
    first = np.maximum(np.floor(histogram.start * histogram.width / steps), bottom)
    count = min(levels, len(histogram.counts) // 4 + 2) + 1
    level = np.minimum(first + np.arange(count), bottom + levels)
    upper = _bins_below(histogram, (level + 0.5) * steps)
    upper[:, -1] = len(histogram.counts)
    upper = np.where(level < bottom + levels, upper, len(histogram.counts))
    edges = np.concatenate([np.zeros_like(upper[:, :1]), upper], axis=1)
    moments = np.diff(sums[:, edges], axis=2)
    within = sums[0, -1] * histogram.width**2 / 12.0
    total: NDArray[np.float64] = _squares(moments, level * steps).sum(axis=1) + within
    return total


def entropy_range(histogram: Histogram, low: float, high: float, bits: int) -> tuple[float, float]:
    """Return the interval whose quantized distribution is nearest in relative entropy.

    Minimises `KL(P ‖ Q)` as TensorRT's calibration does (Migacz 2017): P is the histogram with
    what lies outside added to the end bins, Q spreads each level's mass over its non-empty bins.
    The spike that a ReLU leaves at zero takes no part: zero is a level of its own in every
    encoding, and spreading the spike over neighbouring bins would favour ever smaller intervals.
    For the same reason, spikes elsewhere, the bins are joined to no more than four a level
    (TensorRT has 16, ONNX Runtime one).

    Args:
        histogram: samples of the tensor.
        low: exact smallest value, or 0.
        high: exact largest value, or 0.
        bits: width of the encoding.
    """
    excess = len(histogram.counts) / (BINS_PER_LEVEL * ((1 << bits) - 1))
    doublings = max(int(np.ceil(np.log2(excess))), 0)
    rest = histogram.coarsen(histogram.exponent + doublings).without_zeros()

    def loss(lows: NDArray[np.float64], highs: NDArray[np.float64]) -> NDArray[np.float64]:
        pairs = zip(lows, highs, strict=True)
        return np.array([_divergence(rest, a, b, bits) for a, b in pairs])

    return _least(low, high, loss)


def _divergence(histogram: Histogram, low: float, high: float, bits: int) -> float:
    levels = (1 << bits) - 1
    counts = histogram.counts.astype(np.float64)
    first = max(int(np.floor(low / histogram.width)) - histogram.start, 0)
    stop = max(int(np.floor(high / histogram.width)) - histogram.start + 1, 0)
    inside = counts[first:stop]  # the bin that begins at `high` holds what a Clip leaves there
    if not inside.any():
        return float("inf")
    p = inside.copy()
    p[0] += counts[:first].sum()
    p[-1] += counts[stop:].sum()
    steps = (histogram.centers[first:stop] - low) * (levels / (high - low))
    level = np.clip(np.rint(steps), 0, levels).astype(np.int64)
    mass = np.bincount(level, weights=inside)
    filled = np.bincount(level, weights=inside > 0)
    q = np.where(inside > 0, (mass / np.maximum(filled, 1.0))[level], 0.0)
    p, q = p / p.sum(), q / q.sum()
    used = p > 0
    return float(np.sum(p[used] * np.log(p[used] / np.maximum(q[used], 1e-12))))
