"""Which interval of real values a weight's encoding should cover."""

import numpy as np
from numpy.typing import NDArray

from fewbits.model import Encoding

COARSE = np.linspace(1.0, 0.3, 15)
FINE = np.linspace(0.96, 1.04, 9)
BLOCK = 1 << 16
SMALLEST_SCALE = 2.0**-102


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

    A channel of zeros, or of values too small for float32 arithmetic, gets the largest scale among
    the others, so that its bias still fits.
    """
    rows = weight.reshape(1, -1) if axis is None else _rows(weight, axis)
    qmax = (1 << (bits - 1)) - 1
    peak = np.maximum(rows.max(axis=1, initial=0.0), -rows.min(axis=1, initial=0.0))
    scale = peak.astype(np.float64) / qmax
    used = scale >= SMALLEST_SCALE
    scale = np.where(used, scale, scale.max(initial=0.0, where=used) or 1.0)
    if method == "mse":
        scale[used] *= _best_fractions(rows[used], scale[used], qmax)
    found = scale.astype(np.float32)
    shaped = found.reshape(()) if axis is None else found
    return Encoding(bits, True, shaped, np.zeros(shaped.shape, np.int64), axis, narrow=True)


def _rows(weight: NDArray[np.floating], axis: int) -> NDArray[np.floating]:
    """Return `(channels, everything else)`."""
    return np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)


def _best_fractions(
    rows: NDArray[np.floating], scale: NDArray[np.float64], qmax: int
) -> NDArray[np.float64]:
    """Return the fraction of each row's scale with the least squared error, `(channels,)`.

    Coarse fractions first, then finer ones around the best, block by block so that a block of
    rows stays in the cache for all of them.
    """
    best = np.empty_like(scale)
    height = max(BLOCK // max(rows.shape[1], 1), 1)
    for start in range(0, len(rows), height):
        part = slice(start, start + height)
        tried = np.repeat(COARSE[:, None], len(scale[part]), axis=1)
        coarse = _least_fraction(rows[part], scale[part], tried, qmax)
        tried = np.minimum(FINE[:, None] * coarse, 1.0)
        best[part] = _least_fraction(rows[part], scale[part], tried, qmax)
    return best


def _least_fraction(
    rows: NDArray[np.floating], scale: NDArray[np.float64], tried: NDArray[np.float64], qmax: int
) -> NDArray[np.float64]:
    """Return for each row the one of its fractions, `(fractions, rows)`, of least error."""
    errors = _squared_errors(rows, scale * tried, qmax)
    chosen = errors.argmin(axis=0)
    found: NDArray[np.float64] = np.take_along_axis(tried, chosen[None], axis=0)[0]
    return found


def _squared_errors(
    rows: NDArray[np.floating], scales: NDArray[np.float64], qmax: int
) -> NDArray[np.float64]:
    """Return the squared rounding error of each row at each of its scales.

    Args:
        rows: `(channels, n)`.
        scales: `(candidates, channels)`.
        qmax: largest integer; the range is symmetric.

    Returns:
        float64, `(candidates, channels)`.
    """
    errors = np.zeros(scales.shape)
    inverses = (1.0 / scales).astype(np.float32)[:, :, None]
    width = max(BLOCK // len(rows), 1)
    for start in range(0, rows.shape[1], width):
        magnitudes = np.abs(rows[:, start : start + width], dtype=np.float32)
        steps, q = np.empty_like(magnitudes), np.empty_like(magnitudes)
        for error, inverse in zip(errors, inverses, strict=True):
            np.multiply(magnitudes, inverse, out=steps)
            np.rint(steps, out=q)
            np.minimum(q, qmax, out=q)
            np.subtract(q, steps, out=q)
            error += np.einsum("ij,ij->i", q, q)
    return errors * np.square(scales)
