"""The constants by which integers are brought onto another grid."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fewbits.model import Encoding

_LARGEST_SHIFT = 15


def limited(multiplier: NDArray[np.floating], bits: int) -> NDArray[np.float32]:
    """Round multipliers to a mantissa of so many bits, half to even.

    Args:
        multiplier: positive, any shape.
        bits: at most 24, what a float32 has.

    >>> float(limited(np.array(0.3), 4))
    0.3125
    """
    mantissa, exponent = np.frexp(np.asarray(multiplier, np.float32).astype(np.float64))
    rounded = np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)
    return np.asarray(rounded, np.float32)


def layer_multiplier(
    weight: Encoding, source: Encoding, target: Encoding, bits: int
) -> NDArray[np.float32]:
    """Return `s_w · s_a / s_out`, one or one for each scale of the weight."""
    step = np.asarray(weight.scale * source.scale, np.float32)
    return limited(np.asarray(step / target.scale, np.float32), bits)


def ratio(source: Encoding, target: Encoding, bits: int) -> NDArray[np.float32]:
    """Return `s_in / s_out`, float32."""
    return limited(np.asarray(source.scale / target.scale, np.float32), bits)


def factors(
    sources: Sequence[Encoding], target: Encoding, bits: int
) -> tuple[NDArray[np.int64], int]:
    """Return integers `f` and a shift `k` so that `f_i · 2^−k ≈ s_i / s_out`.

    The largest has `bits` bits. With 12, `Σ f_i (q_i − z_i) + 2^k z_out` of 8-bit integers stays
    below 2^24, so that float32 holds it exactly in whatever order it is formed.

    Args:
        sources: encodings of what is added.
        target: encoding of the sum.
        bits: of the largest factor.

    >>> e = [Encoding(8, False, np.float32(s), np.int64(0)) for s in (0.5, 0.125, 1.0)]
    >>> factors(e[:2], e[2], 12)
    (array([2048,  512]), 12)
    """
    ratios = np.array([float(e.scale) / float(target.scale) for e in sources])
    _, exponent = np.frexp(ratios.max())
    shift = min(bits - int(exponent), _LARGEST_SHIFT)
    return np.asarray(np.rint(np.ldexp(ratios, shift)), np.int64), shift


def exponentials(source: Encoding, bits: int) -> NDArray[np.int64]:
    """Return `E[d] = round(2^bits · exp(−d · s))` for every distance `d` below the maximum.

    Args:
        source: encoding of a softmax's input.
        bits: of `E[0]`.
    """
    distance = np.arange(source.qmax - source.qmin + 1) * float(source.scale)
    return np.asarray(np.rint(np.exp(-distance) * 2.0**bits), np.int64)
