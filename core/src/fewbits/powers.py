"""Sums over a tensor and over how far another is off: signal, noise, extremes, shifts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbits.metrics import decibels

#: numbers in a block: it, the other tensor's and their difference stay in a cache.
BLOCK = 1 << 16
#: numbers in a run whose squares are added up in float32.
RUN = 1 << 12


@dataclass(frozen=True)
class Powers:
    """Sums of squares over any number of samples.

    Args:
        signal: `Σ x²`.
        noise: `Σ (x − y)²`.
    """

    signal: float = 0.0
    noise: float = 0.0

    def __add__(self, other: "Powers") -> "Powers":
        return Powers(self.signal + other.signal, self.noise + other.noise)

    @property
    def snr_db(self) -> float:
        """`10 · log10(signal / noise)` in dB, within ±140."""
        return decibels(self.signal, self.noise)


def powers(x: NDArray[Any], y: NDArray[Any]) -> Powers:
    """Return the power of a tensor, and of how far another is off.

    Sums run in float32 within `RUN` numbers and in float64 over these.

    Args:
        x: what the values should be, any shape.
        y: what they are, the same number of them.

    >>> powers(np.array([3.0, 4.0]), np.array([3.0, 3.0]))
    Powers(signal=25.0, noise=1.0)
    """
    total = Powers()
    pairs = zip(_blocks(x.reshape(-1)), _blocks(y.reshape(-1)), strict=True)
    for part, other in pairs:
        total += Powers(_square(part), _square(part - other))
    return total


@dataclass(frozen=True)
class Sums:
    """What one batch of a tensor comes to.

    Args:
        powers: of it, and of how far the quantized one is off.
        low: smallest value of each channel, `(channels,)`.
        high: largest value of each channel, `(channels,)`.
        shift: `Σ (y − x)` of each channel, float64, `(channels,)`.
        count: how many values a channel has.
    """

    powers: Powers
    low: NDArray[Any]
    high: NDArray[Any]
    shift: NDArray[np.float64]
    count: int


def sums(x: NDArray[Any], y: NDArray[Any], axis: int) -> Sums:
    """Return the sums over one batch in a single pass over memory.

    Args:
        x: what the values should be.
        y: what they are, the same shape.
        axis: of the channels: 1, or -1 for the last.

    >>> sums(np.zeros((2, 1)), np.ones((2, 1)), axis=1).shift
    array([2.])
    """
    if axis == -1 or x.ndim <= 2:
        return _by_column(x.reshape(-1, x.shape[-1]), y.reshape(-1, x.shape[-1]))
    rows, samples = (array.reshape(-1, array[0, 0].size) for array in (x, y)), len(x)
    found = _by_row(*rows)
    low, high, shift = (part.reshape(samples, -1) for part in found[1:])
    count = x.size // shift.shape[1]
    return Sums(found[0], low.min(axis=0), high.max(axis=0), shift.sum(axis=0), count)


def _by_row(
    x: NDArray[Any], y: NDArray[Any]
) -> tuple[Powers, NDArray[Any], NDArray[Any], NDArray[np.float64]]:
    """Return the powers and each row's extremes and shift, of arrays `(rows, positions)`."""
    low, high = np.empty(len(x), x.dtype), np.empty(len(x), x.dtype)
    shift, total = np.empty(len(x)), Powers()
    height = max(BLOCK // x.shape[1], 1)
    for start in range(0, len(x), height):
        part = slice(start, start + height)
        off = y[part] - x[part]
        total += Powers(_square(x[part].reshape(-1)), _square(off.reshape(-1)))
        shift[part] = np.einsum("ij->i", off)
        x[part].min(axis=1, out=low[part])
        x[part].max(axis=1, out=high[part])
    return total, low, high, shift


def _by_column(x: NDArray[Any], y: NDArray[Any]) -> Sums:
    off = y - x
    total = Powers(_square(x.reshape(-1)), _square(off.reshape(-1)))
    return Sums(total, x.min(axis=0), x.max(axis=0), off.sum(axis=0, dtype=np.float64), len(x))


def _blocks(flat: NDArray[Any]) -> Iterator[NDArray[Any]]:
    yield from (flat[start : start + BLOCK] for start in range(0, len(flat), BLOCK))


def _square(flat: NDArray[Any]) -> float:
    """Return `Σ x²`, in runs that BLAS keeps on this thread: the runtime's are busy spinning."""
    whole = len(flat) // RUN * RUN
    runs, rest = flat[:whole].reshape(-1, RUN), flat[whole:]
    products = np.matmul(runs[:, None, :], runs[:, :, None])
    return float(products.sum(dtype=np.float64)) + float(np.dot(rest, rest))
