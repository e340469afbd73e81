"""Range estimation: which interval of real values an encoding should cover.

Activations: from a histogram of samples and the exact extremes. Weights: from the array itself.
"""

import numpy as np
from numpy.typing import NDArray

from fewbits.histogram import Histogram
from fewbits.model import Encoding

SHRINK = np.linspace(1.0, 0.2, 81)


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

    Searches fractions of `[low, high]`, first of both ends together, then of each alone.

    Args:
        histogram: samples of the tensor.
        low: exact smallest value, or 0.
        high: exact largest value, or 0.
        bits: width of the encoding.
    """

    def error(bounds: tuple[float, float]) -> float:
        return quantization_error(histogram, *bounds, bits)

    best = min(((low * a, high * a) for a in SHRINK), key=error)
    if low < 0.0 < high:
        best = min(((low * a, best[1]) for a in SHRINK), key=error)
        best = min(((best[0], high * a) for a in SHRINK), key=error)
    return best


def quantization_error(histogram: Histogram, low: float, high: float, bits: int) -> float:
    """Return the mean squared error of an asymmetric encoding over a histogram.

    Inside the interval a sample is off by `scale² / 12` on average (by exactly its distance to
    the grid where the bins are finer than the grid); outside it is off by its distance to the end.
    """
    levels = (1 << bits) - 1
    scale = (high - low) / levels
    if scale <= 0.0:
        return float("inf") if histogram.total else 0.0
    x = histogram.centers
    nearest = np.clip(np.rint(x / scale), np.rint(low / scale), np.rint(low / scale) + levels)
    squared = np.square(x - nearest * scale)
    if scale < 4.0 * histogram.width:
        inside = (x > low) & (x < high)
        squared = np.where(inside, scale**2 / 12.0, squared)
    return float(squared @ histogram.counts) / max(histogram.total, 1)


def entropy_range(histogram: Histogram, low: float, high: float, bits: int) -> tuple[float, float]:
    """Return the interval whose quantized distribution is nearest in relative entropy.

    Minimises `KL(P ‖ Q)` as TensorRT's calibration does (Migacz 2017): P is the histogram with
    what lies outside added to the end bins, Q spreads each level's mass over its non-empty bins.

    Args:
        histogram: samples of the tensor.
        low: exact smallest value, or 0.
        high: exact largest value, or 0.
        bits: width of the encoding.
    """
    candidates = [(low * a, high * a) for a in SHRINK]
    return min(candidates, key=lambda b: _divergence(histogram, b[0], b[1], bits))


def _divergence(histogram: Histogram, low: float, high: float, bits: int) -> float:
    levels = (1 << bits) - 1
    x, counts = histogram.centers, histogram.counts.astype(np.float64)
    inside = (x >= low) & (x <= high)
    if not inside.any():
        return float("inf")
    scale = (high - low) / levels
    first, last = np.flatnonzero(inside)[[0, -1]]
    q_source = counts[first : last + 1]
    p = q_source.copy()
    p[0] += counts[:first].sum()
    p[-1] += counts[last + 1 :].sum()
    level = np.rint((x[first : last + 1] - low) / scale).astype(np.int64)
    mass = np.bincount(level, weights=q_source)
    filled = np.bincount(level, weights=(q_source > 0).astype(np.float64))
    q = np.where(q_source > 0, (mass / np.maximum(filled, 1.0))[level], 0.0)
    p, q = p / p.sum(), q / max(q.sum(), 1e-300)
    used = p > 0
    return float(np.sum(p[used] * np.log(p[used] / np.maximum(q[used], 1e-12))))


def weight_encoding(
    weight: NDArray[np.floating], bits: int, *, axis: int | None, method: str = "mse"
) -> Encoding:
    """Return a symmetric, narrow-range encoding of a weight.

    Args:
        weight: any shape.
        bits: 4, 8 or 16.
        axis: the output channels' axis for one scale per channel; None for one scale.
        method: `minmax` takes the largest magnitude; `mse` the fraction of it with the least
            squared error, searched per channel in two passes.

    A channel of zeros gets the largest scale among the others, so that its bias still fits.
    """
    rows = weight.reshape(1, -1) if axis is None else _rows(weight, axis)
    qmax = (1 << (bits - 1)) - 1
    peak = np.abs(rows).max(axis=1).astype(np.float64)
    scale = peak / qmax
    if method == "mse":
        scale = _search(rows, scale, qmax)
    largest = scale.max(initial=0.0)
    scale = np.where(scale > 0.0, scale, largest if largest > 0.0 else 1.0).astype(np.float32)
    shaped = scale.reshape(()) if axis is None else scale
    return Encoding(bits, True, shaped, np.zeros(shaped.shape, np.int64), axis, narrow=True)


def _rows(weight: NDArray[np.floating], axis: int) -> NDArray[np.floating]:
    """Return `(channels, everything else)`."""
    return np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)


def _search(
    rows: NDArray[np.floating], scale: NDArray[np.float64], qmax: int
) -> NDArray[np.float64]:
    """Return per-row scales of least squared error: coarse fractions first, then finer ones."""
    coarse = _best_fraction(rows, scale, np.ones_like(scale), np.linspace(1.0, 0.3, 15), qmax)
    return scale * _best_fraction(rows, scale, coarse, np.linspace(0.96, 1.04, 9), qmax)


def _best_fraction(
    rows: NDArray[np.floating],
    scale: NDArray[np.float64],
    around: NDArray[np.float64],
    fractions: NDArray[np.float64],
    qmax: int,
) -> NDArray[np.float64]:
    best = around.copy()
    least = np.full(len(rows), np.inf)
    for fraction in fractions:
        tried = np.minimum(around * fraction, 1.0)
        found = _squared_error(rows, (scale * tried).astype(np.float32), qmax)
        better = found < least
        least, best = np.where(better, found, least), np.where(better, tried, best)
    return best


def _squared_error(
    rows: NDArray[np.floating], scale: NDArray[np.float32], qmax: int
) -> NDArray[np.float64]:
    """Return the squared rounding error of each row, `(channels,)`."""
    step = np.where(scale > 0.0, scale, 1.0)[:, None]
    q = rows / step
    np.rint(q, out=q)
    np.clip(q, -qmax, qmax, out=q)
    q *= step
    q -= rows
    squared: NDArray[np.float64] = np.einsum("ij,ij->i", q, q, dtype=np.float64)
    return squared
