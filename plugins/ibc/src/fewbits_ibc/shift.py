"""How far a layer's outputs are off in the mean, and the bias that puts it right: pure arrays.

`z` is what a layer computes in front of its activation `f`, which clips it to `low … high`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: a channel of which next to nothing gets through moves as if so much did.
LEAST_SHARE = 0.01


def linear_shift(wanted: Array, product: Array, bias: NDArray[np.floating]) -> Array:
    """Return `E_float[z] − E_quant[z]` with `E_quant[z] = W_q·E[x̂] + b`, `(out,)`.

    The accumulator of a quantized layer is exact, so this is no estimate, and the layer need not be
    run. Padding is the zero point, which stands for 0 like padding in full precision.

    Args:
        wanted: `E_float[z]`, `(out,)`.
        product: `W_q·E[x̂]`, `(out,)`.
        bias: `b`, `(out,)`.

    >>> linear_shift(np.array([3.0]), np.array([1.5]), np.array([1.0]))
    array([0.5])
    """
    return np.asarray(wanted - product - bias.astype(np.float64))


@dataclass(frozen=True)
class Response:
    """How the means behind an activation answer to a bias, by samples of what goes into it.

    Args:
        samples: `z` of the quantized layer, float32, `(out, n)`.
        low: smallest value that gets through, `(out, 1)` or one for all.
        high: largest value that gets through, likewise.
    """

    samples: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]

    def mean(self, move: Array) -> Array:
        """Return `E[f(z + δ)]`, `(out,)`.

        Args:
            move: `δ`, `(out,)`.
        """
        return np.asarray(self._clipped(move).mean(axis=1, dtype=np.float64))

    @cached_property
    def rest(self) -> Array:
        """`E[f(z)]`, the bias as it stands."""
        return self.mean(np.zeros(len(self.samples)))

    def share(self, move: Array) -> Array:
        """Return `P(low < z + δ < high) = d E[f(z + δ)] / dδ`, `(out,)`.

        Args:
            move: `δ`, `(out,)`.
        """
        seen = self._clipped(move)
        return np.asarray(((seen > self.low) & (seen < self.high)).mean(axis=1))

    def move(self, shift: Array, start: Array, steps: int) -> Array:
        """Return `δ` with `E[f(z + δ)] = E[f(z + start)] + shift`, `(out,)`, by Newton's method.

        Moving by `shift` itself would do where nothing is clipped. Where the activation cuts off
        a share of the outputs, only the others answer. Each channel keeps the step that came
        closest; `start` if none came closer than that.

        Args:
            shift: by how much the mean behind the activation is to move, `(out,)`.
            start: a `δ`, `(out,)`.
            steps: how often to correct it.
        """
        aim = self.mean(start) + shift
        best, left = start, shift
        slope = np.maximum(self.share(start), LEAST_SHARE)
        for _ in range(steps):
            tried = best + left / slope
            missing = aim - self.mean(tried)
            closer = np.abs(missing) < np.abs(left)
            best, left = np.where(closer, tried, best), np.where(closer, missing, left)
            # a step too far is tried again, shorter
            slope = np.where(closer, np.maximum(self.share(best), LEAST_SHARE), 2.0 * slope)
        return best

    def _clipped(self, move: Array) -> NDArray[np.float32]:
        moved = self.samples + move[:, None].astype(np.float32)
        return np.asarray(np.clip(moved, self.low, self.high, out=moved))


def rms(values: Array) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))
