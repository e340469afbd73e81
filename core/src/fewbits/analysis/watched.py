"""What is added up of one place, batch by batch, and the figures that follow."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbits.metrics import decibels
from fewbits.model import Encoding
from fewbits.numerics import fake_quantize
from fewbits.powers import Powers, Sums

#: values kept of a tensor, from which percentiles and the noise of its grid are found.
KEPT = 1 << 14


@dataclass
class Watched:
    """Totals of one tensor in float, and of how far the quantized one is off.

    Args:
        each: values to keep of each sample.
    """

    each: int
    powers: Powers = field(default_factory=Powers)
    low: NDArray[Any] | None = None
    high: NDArray[Any] | None = None
    shift: NDArray[np.float64] | None = None
    count: int = 0
    kept: list[NDArray[Any]] = field(default_factory=list)

    def add(self, x: NDArray[Any], found: Sums) -> None:
        """Take in a batch: the float values, and what they come to."""
        self.powers += found.powers
        self.count += found.count
        if self.low is None or self.high is None or self.shift is None:
            self.low, self.high, self.shift = found.low, found.high, found.shift
        else:
            self.low = np.minimum(self.low, found.low)
            self.high = np.maximum(self.high, found.high)
            self.shift = self.shift + found.shift
        flat = x.reshape(-1)
        self.kept.append(flat[:: odd(len(flat) // (self.each * len(x)))].copy())

    @property
    def seen(self) -> tuple[float, float]:
        """Smallest and largest value."""
        assert self.low is not None
        assert self.high is not None
        return float(self.low.min()), float(self.high.max())

    @property
    def shift_share(self) -> float:
        """What of the noise is a shift of channels' means: `Σ_c n·(E[y − x])² / Σ (y − x)²`."""
        if self.shift is None or self.powers.noise == 0.0:
            return 0.0
        means = self.shift / self.count
        return float(min(self.count * np.square(means).sum() / self.powers.noise, 1.0))

    @property
    def sample(self) -> NDArray[Any]:
        """Values taken evenly from all samples."""
        return np.concatenate(self.kept)


def odd(step: int) -> int:
    """Return an odd step of about this size, so that it does not beat with even strides.

    >>> odd(0), odd(6), odd(7)
    (1, 5, 7)
    """
    return max(step - (step % 2 == 0), 1)


def per_sample(samples: int) -> int:
    """Return how many values of each sample to keep."""
    return max(KEPT // max(samples, 1), 1)


def grid_snr(sample: NDArray[Any], encoding: Encoding) -> float:
    """Return the SNR in dB that rounding and clipping these values alone leaves.

    >>> unit = Encoding(8, False, np.float32(1.0), np.int64(0))
    >>> grid_snr(np.array([3.0, 4.5]), unit)  # 4.5 becomes 4: 10·log10(29.25 / 0.25)
    20.681858617461618
    """
    wide = sample.astype(np.float64)
    off = wide - fake_quantize(sample, encoding)
    return decibels(float(np.square(wide).sum()), float(np.square(off).sum()))


def clipped(sample: NDArray[Any], encoding: Encoding) -> float:
    """Return the share of values that lie outside of what can be represented.

    >>> clipped(np.array([1.0, 300.0]), Encoding(8, False, np.float32(1.0), np.int64(0)))
    0.5
    """
    half = encoding.scale / 2
    outside = (sample < encoding.low - half) | (sample > encoding.high + half)
    return float(outside.mean())


def bits_used(sample: NDArray[Any], encoding: Encoding, most: float = 0.999) -> float:
    """Return `log2` of the number of integers that the bulk of the values falls on.

    The bulk is the middle share `most` of the values, and 0, which every range contains.

    >>> values = np.append(np.linspace(0.0, 15.0, 10_000), 255.0)  # 255 is an outlier
    >>> round(bits_used(values, Encoding(8, False, np.float32(1.0), np.int64(0))), 1)
    4.0
    """
    tail = (1.0 - most) / 2
    low, high = np.quantile(sample, [tail, 1.0 - tail])
    low, high = max(min(low, 0.0), float(encoding.low)), min(max(high, 0.0), float(encoding.high))
    return float(np.log2((high - low) / float(encoding.scale) + 1.0))


def spread(peaks: NDArray[Any]) -> float:
    """Return how far apart channels are: the largest peak over the median, dead channels aside.

    >>> spread(np.array([1.0, 2.0, 0.0, 40.0]))
    20.0
    """
    alive = peaks[peaks > 0]
    return float(alive.max() / np.median(alive)) if len(alive) else 1.0
