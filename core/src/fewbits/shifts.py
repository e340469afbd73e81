"""The shift of a requantization, and how grids are kept within what a device can shift.

An accumulator is brought onto the output's grid by `s_w · s_a / s_out = m · 2^−shift` with
`0.5 ≤ m < 1`. A device limits the shift (`targets.ShiftLimits`).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fewbits.model import Encoding
from fewbits.targets import ShiftLimits


def shifts(weight: Encoding, source: Encoding, target: Encoding) -> NDArray[np.int64]:
    """Return each channel's shift, `(scales,)`.

    >>> e = [Encoding(8, False, np.float32(s), np.int64(0)) for s in (0.25, 0.5, 1.0)]
    >>> shifts(*e).tolist()
    [2]
    """
    step = np.atleast_1d(weight.scale.astype(np.float64)) * float(source.scale)
    _, exponent = np.frexp(step / float(target.scale))
    return np.asarray(-exponent, np.int64)


@dataclass(frozen=True)
class Excess:
    """How far a layer lies beyond the limits, in bits; 0 where it lies within.

    Args:
        left: of the shift to the left.
        allowed_left: the limit.
        spread: of the distance between the channels' shifts.
        allowed_spread: the limit.
    """

    left: int
    allowed_left: int
    spread: int
    allowed_spread: int


def excess(weight: Encoding, source: Encoding, target: Encoding, limits: ShiftLimits) -> Excess:
    """Return how far a layer's shifts lie beyond the limits."""
    found, left = shifts(weight, source, target), left_limit(target.bits, limits)
    apart = int(found.max() - found.min())
    return Excess(
        max(int(-found.min()) - left, 0), left, max(apart - limits.spread, 0), limits.spread
    )


def left_limit(bits: int, limits: ShiftLimits) -> int:
    """Return how far a result of so many bits may be shifted left."""
    return limits.left[8 if bits <= 8 else 16]


def within_spread(weight: Encoding, limits: ShiftLimits | None) -> Encoding:
    """Raise the small scales of a weight until all its channels can share a shift.

    Args:
        weight: encoding with one scale or one for each channel.
        limits: of the device; None if it has none.
    """
    if limits is None or weight.scale.ndim == 0:
        return weight
    least = weight.scale.max() / np.float32(2.0**limits.spread)
    return replace(weight, scale=np.maximum(weight.scale, least))


def within_left_shift(target: Encoding, step: float, limits: ShiftLimits | None) -> Encoding:
    """Widen an output's range until a layer's accumulator need not be shifted too far left.

    Args:
        target: encoding of what the layer writes.
        step: the accumulator's largest, `s_w · s_a`.
        limits: of the device; None if it has none.
    """
    if limits is None:
        return target
    least = np.asarray(step / 2.0 ** left_limit(target.bits, limits), np.float32)
    return target if target.scale >= least else replace(target, scale=least)
