"""Expected rounding noise of a group of channels as a function of their factors; no graphs.

Rounding to a grid of step `s` adds noise of power `s² / 12` to each number, and the step follows
the widest channel. A channel that grows by `f` carries its noise divided by `f²` to whoever reads
it, while what it reads from grows with it. Each part is
`Σ_o w_o max_i(r_oi f_i^d)² Σ_i n_i f_i^(-2d)`, a row `o` for each scale, so in `log f` the whole
is a sum of convex functions and has one minimum (a geometric program).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewbits_equalization.factors import TINY, Vector

STEPS = 80
FIRST_NORM, LAST_NORM = 4.0, 48.0
NORMS = 8  # how often the powers of whole matrices are taken anew
PACE = 0.2


@dataclass(frozen=True)
class Part:
    """What one tensor adds.

    Args:
        reach: `r`, largest magnitude in each channel, at least 0: `(channels,)` where the tensor
            has one scale, `(rows, channels)` where each row has its own.
        noise: `n`, effect of one unit of noise power in each channel, at least 0, `(channels,)`.
        direction: `d`, 1 where the tensor's channels are multiplied by the factors, −1 where they
            are divided by them.
        weights: `w`, by what the noise of each row counts, `(rows,)`; 1 where it is not given.
    """

    reach: NDArray[np.float64]
    noise: Vector
    direction: int
    weights: Vector | None = None

    @property
    def rows(self) -> NDArray[np.float64]:
        """The reach as `(rows, channels)`."""
        return np.atleast_2d(self.reach)

    def expected(self, factors: Vector) -> float:
        """Return `Σ_o w_o max_i(r_oi f_i^d)² Σ_i n_i f_i^(-2d)`."""
        steps = np.square((self.rows * factors**self.direction).max(axis=1))
        whole = float(steps.sum() if self.weights is None else self.weights @ steps)
        return whole * float((self.noise * factors ** (-2 * self.direction)).sum())


def expected_noise(parts: Sequence[Part], factors: Vector) -> float:
    """Return the noise of all parts, `Part.expected` summed.

    >>> narrow = Part(np.array([1.0, 4.0]), np.ones(2), 1)
    >>> expected_noise([narrow], np.ones(2)), expected_noise([narrow], np.array([4.0, 1.0]))
    (32.0, 17.0)
    """
    return sum(part.expected(factors) for part in parts)


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
    terms = _terms(parts)
    first, second = np.zeros_like(theta), np.zeros_like(theta)
    for step in range(1, STEPS + 1):
        done = step / STEPS
        slope, total = np.zeros_like(theta), 0.0
        for term in terms:
            change, size = term.slope(theta, done)
            slope, total = slope + change, total + size
        slope /= max(total, TINY)
        first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope**2
        change = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.99**step)) + 1e-12)
        theta = np.clip(theta - PACE * (1.0 - 0.97 * done) * change, low, high)
        if step % 10 == 0 and (found := expected_noise(parts, np.exp(theta))) < least:
            best, least = np.exp(theta), found
    return best


def _terms(parts: Sequence[Part]) -> list["_Single | _Rows"]:
    kept = [part for part in parts if part.reach.any() and part.noise.any()]
    single = [part for part in kept if part.reach.ndim == 1]
    rows: list[_Single | _Rows] = [_Rows.of(part) for part in kept if part.reach.ndim == 2]
    return [_Single.of(single), *rows] if single else rows


def _norm(done: float) -> float:
    return float(FIRST_NORM * (LAST_NORM / FIRST_NORM) ** done)


@dataclass(frozen=True)
class _Single:
    """Logarithms of several parts of one row each, `(parts, channels)`; directions `(parts, 1)`."""

    reach: NDArray[np.float64]
    noise: NDArray[np.float64]
    direction: NDArray[np.float64]

    @classmethod
    def of(cls, parts: Sequence[Part]) -> "_Single":
        reach = np.stack([part.reach for part in parts])
        noise = np.stack([part.noise for part in parts])
        directions = np.array([[float(part.direction)] for part in parts])
        return cls(np.log(np.maximum(reach, TINY)), np.log(np.maximum(noise, TINY)), directions)

    def slope(self, theta: Vector, done: float) -> tuple[Vector, float]:
        """Return the gradient of the noise, with p-norms for the largest, and the noise."""
        norm = _norm(done)
        moved = self.direction * theta
        reach = self.reach + moved
        top = reach.max(axis=1, keepdims=True)
        powers = np.exp(norm * (reach - top))
        spread = np.exp(self.noise - 2.0 * moved)
        total, noise = powers.sum(axis=1, keepdims=True), spread.sum(axis=1, keepdims=True)
        sizes = np.exp(2.0 * top) * total ** (2.0 / norm) * noise
        shares = 2.0 * self.direction * sizes
        slope: Vector = (shares * (powers / total - spread / noise)).sum(axis=0)
        return slope, float(sizes.sum())


@dataclass
class _Rows:
    """One part of many rows, each divided by its largest number; `weights` hold its square.

    The powers `r^p` are kept until `p` has grown by a step, so that a gradient costs two products
    of a matrix with a vector.
    """

    reach: NDArray[np.float64]
    weights: Vector
    noise: Vector
    direction: int
    norm: float = 0.0
    powers: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, part: Part) -> "_Rows":
        peaks = part.reach.max(axis=1)
        given = np.ones(len(peaks)) if part.weights is None else part.weights
        used = (peaks > 0.0) & (given > 0.0)
        reach, peaks = part.reach[used], peaks[used]
        return cls(reach / peaks[:, None], given[used] * peaks**2, part.noise, part.direction)

    def slope(self, theta: Vector, done: float) -> tuple[Vector, float]:
        """Return the gradient of the noise, with p-norms for the largest, and the noise."""
        norm = _norm(np.ceil(done * NORMS) / NORMS)
        if self.powers is None or norm != self.norm:
            self.norm, self.powers = norm, self.reach**norm
        moved = self.direction * theta
        grown, spread = np.exp(norm * moved), self.noise * np.exp(-2.0 * moved)
        sums, noise = np.maximum(self.powers @ grown, TINY), float(spread.sum())
        steps = self.weights * sums ** (2.0 / norm)
        whole = float(steps.sum())
        pulled = grown * ((steps / sums) @ self.powers)
        return 2.0 * self.direction * (pulled * noise - whole * spread), whole * noise
