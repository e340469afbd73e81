"""Where to cut: bounds as functions of histograms and arrays. Every interval contains 0."""

from typing import Any

import numpy as np
from fewbits.histogram import Histogram
from fewbits.weightrange import weight_encoding
from numpy.typing import NDArray

Bounds = tuple[float, float]


def histogram_percentiles(histogram: Histogram, low: float, high: float) -> Bounds:
    """Return the percentiles `low` and `high` of what a histogram counted, to within one bin.

    Each bound lies on the outer edge of the bin that holds the percentile: at most `low` percent
    of the values lie below the first, at most `100 − high` percent above the second.

    Args:
        histogram: of a tensor's values.
        low: percent, 0 cuts nothing.
        high: percent, 100 cuts nothing.

    >>> histogram_percentiles(Histogram.of(np.arange(-50, 51.0)), 10, 90)
    (-40.0, 40.03125)
    """
    share = 100.0 * np.cumsum(histogram.counts) / histogram.total
    last = len(histogram.counts) - 1
    first = min(int(np.searchsorted(share, low, side="right")), last)
    end = min(int(np.searchsorted(share, high, side="left")), last)
    bottom = (histogram.start + first) * histogram.width
    top = (histogram.start + end + 1) * histogram.width
    return min(bottom, 0.0), max(top, 0.0)


def share_outside(histogram: Histogram, bounds: Bounds) -> float:
    """Share of the counted values whose bin's centre lies outside the bounds."""
    centers = histogram.centers
    outside = (centers < bounds[0]) | (centers > bounds[1])
    return float(histogram.counts[outside].sum() / histogram.total)


def percentiles(weight: NDArray[np.floating], low: float, high: float) -> Bounds:
    """Return the percentiles `low` and `high` of a weight's elements, 0 between them.

    >>> percentiles(np.arange(-50, 51.0), 10, 90)
    (-40.0, 40.0)
    """
    bottom, top = np.percentile(weight.astype(np.float64), [low, high])
    return min(float(bottom), 0.0), max(float(top), 0.0)


def clip(weight: NDArray[Any], bounds: Bounds) -> NDArray[Any]:
    """Return `min(max(w, low), high)` in the weight's own type; zeros stay."""
    low, high = (weight.dtype.type(bound) for bound in bounds)
    clipped: NDArray[Any] = np.clip(weight, low, high)
    return clipped


def clip_to_least_error(
    weight: NDArray[np.floating], bits: int, axis: int | None
) -> NDArray[np.floating]:
    """Clip to the symmetric range whose grid has the least squared error.

    `b = argmin_b Σ (w − s·round(clip(w, −b, b)/s))²` with `s = b / (2^(bits−1) − 1)`, `b` one for
    each output channel, or one in all.

    Args:
        weight: any shape.
        bits: of the weight's grid.
        axis: of the output channels; None for one range.
    """
    encoding = weight_encoding(weight, bits, axis=axis, method="mse")
    scale = np.asarray(encoding.scale, weight.dtype)
    if axis is not None:
        shape = [1] * weight.ndim
        shape[axis] = -1
        scale = scale.reshape(shape)
    bound = scale * weight.dtype.type(encoding.qmax)
    clipped: NDArray[np.floating] = np.clip(weight, -bound, bound)
    return clipped
