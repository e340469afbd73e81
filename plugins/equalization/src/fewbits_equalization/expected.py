"""Expected rounding noise of a group of channels as a function of their factors; no graphs.

Rounding to a grid of step `s` adds noise of power `s² / 12` to each number, and the step follows
the widest channel. A channel that grows by `f` carries its noise divided by `f²` to whoever reads
it, while what it reads from grows with it. Each part is `max_i(r_i f_i^d)² Σ_i n_i f_i^(-2d)`, so
in `log f` the whole is a sum of convex functions and has one minimum (a geometric program).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewbits_equalization.factors import TINY, Vector

STEPS = 80
FIRST_NORM, LAST_NORM = 4.0, 48.0
PACE = 0.2


@dataclass(frozen=True)
class Part:
    """What one tensor with one scale adds.

    Args:
        reach: `r`, largest magnitude in each channel, at least 0, `(channels,)`.
        noise: `n`, effect of one unit of noise power in each channel, at least 0, `(channels,)`.
        direction: `d`, 1 where the tensor's channels are multiplied by the factors, −1 where they
            are divided by them.
    """

    reach: Vector
    noise: Vector
    direction: int


def expected_noise(parts: Sequence[Part], factors: Vector) -> float:
    """Return `Σ max_i(r_i f_i^d)² Σ_i n_i f_i^(-2d)` over the parts.

    >>> narrow = Part(np.array([1.0, 4.0]), np.ones(2), 1)
    >>> expected_noise([narrow], np.ones(2)), expected_noise([narrow], np.array([4.0, 1.0]))
    (32.0, 17.0)
    """
    return sum(
        float((p.reach * factors**p.direction).max() ** 2)
        * float((p.noise * factors ** (-2 * p.direction)).sum())
        for p in parts
    )


def least_noise(parts: Sequence[Part], start: Vector, lowest: Vector, highest: Vector) -> Vector:
    """Return the factors between two bounds for which `expected_noise` is least.

    Gradient steps of falling size (Adam) in `log f`, the largest taken as a p-norm of rising p; the
    best factors met on the way count, so that the noise never grows.

    Args:
        parts: of one group.
        start: factors to begin with, within the bounds, `(channels,)`.
        lowest: smallest factor of each channel.
        highest: largest factor of each channel.

    >>> parts = [Part(np.array([1.0, 4.0]), np.ones(2), 1)]
    >>> f = least_noise(parts, np.ones(2), np.full(2, 0.1), np.full(2, 10.0))
    >>> bool(3.5 < f[0] / f[1] < 4.5)
    True
    """
    low, high = np.log(lowest), np.log(highest)
    theta = np.log(start)
    best, least = start, expected_noise(parts, start)
    terms = _Terms.of(parts)
    first, second = np.zeros_like(theta), np.zeros_like(theta)
    for step in range(1, STEPS + 1):
        done = step / STEPS
        slope = terms.slope(theta, FIRST_NORM * (LAST_NORM / FIRST_NORM) ** done)
        first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope**2
        change = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.99**step)) + 1e-12)
        theta = np.clip(theta - PACE * (1.0 - 0.97 * done) * change, low, high)
        if step % 10 == 0 and (found := expected_noise(parts, np.exp(theta))) < least:
            best, least = np.exp(theta), found
    return best


@dataclass(frozen=True)
class _Terms:
    """Logarithms of several parts in arrays `(parts, channels)`; directions `(parts, 1)`."""

    reach: NDArray[np.float64]
    noise: NDArray[np.float64]
    direction: NDArray[np.float64]

    @classmethod
    def of(cls, parts: Sequence[Part]) -> "_Terms":
        kept = [part for part in parts if part.reach.any() and part.noise.any()]
        shape = (len(kept), len(parts[0].reach))
        reach = np.array([part.reach for part in kept]).reshape(shape)
        noise = np.array([part.noise for part in kept]).reshape(shape)
        directions = np.array([[float(part.direction)] for part in kept]).reshape(-1, 1)
        return cls(np.log(np.maximum(reach, TINY)), np.log(np.maximum(noise, TINY)), directions)

    def slope(self, theta: Vector, norm: float) -> Vector:
        """Return the gradient of the logarithm of the noise with p-norms for the largest."""
        moved = self.direction * theta
        reach = self.reach + moved
        top = reach.max(axis=1, keepdims=True)
        powers = np.exp(norm * (reach - top))
        spread = np.exp(self.noise - 2.0 * moved)
        total, noise = powers.sum(axis=1, keepdims=True), spread.sum(axis=1, keepdims=True)
        sizes = np.exp(2.0 * top) * total ** (2.0 / norm) * noise
        shares = 2.0 * self.direction * sizes / max(float(sizes.sum()), TINY)
        slope: Vector = (shares * (powers / total - spread / noise)).sum(axis=0)
        return slope
