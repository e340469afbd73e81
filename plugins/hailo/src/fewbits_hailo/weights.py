"""Which numbers of a quantized layer another quantizer should be given."""

import numpy as np
from fewbits.model import Encoding
from fewbits.numerics import fake_quantize, quantize
from numpy.typing import NDArray


def clipped(weight: NDArray[np.float32], encoding: Encoding) -> NDArray[np.float32]:
    """Return a float weight cut to what its encoding can hold: `clip(w, low, high)`.

    A compiler that takes a weight's range from its minimum and maximum then finds the range that
    fewbits chose, and rounding to nearest gives fewbits' integers.

    Args:
        weight: any shape.
        encoding: per tensor, or along an axis of it.
    """
    low, high = (_along(bound, encoding, weight.ndim) for bound in (encoding.low, encoding.high))
    return np.clip(weight, low, high).astype(np.float32)


def is_rounded(
    weight: NDArray[np.floating], original: NDArray[np.floating], encoding: Encoding
) -> bool:
    """Say whether `weight` is `original` rounded to nearest, and nothing else was done to it."""
    return weight.shape == original.shape and np.array_equal(
        weight, fake_quantize(original.astype(np.float32), encoding)
    )


def is_kept(bias: NDArray[np.floating], original: NDArray[np.floating], encoding: Encoding) -> bool:
    """Say whether a bias is the original within the rounding of its own grid.

    Args:
        bias: `(out,)`, on its grid.
        original: `(out,)`, in float.
        encoding: the bias's.
    """
    difference = np.abs(bias.astype(np.float64) - original.astype(np.float64))
    # Half a step, and what float32 cannot tell apart at that size.
    room = 0.5 * encoding.scale.astype(np.float64) + np.spacing(np.abs(original, dtype=np.float32))
    return bool((difference <= room).all())


def spans_grid(weight: NDArray[np.floating], encoding: Encoding) -> bool:
    """Say whether the largest weight of every scale stands at the end of its grid.

    Then a symmetric quantizer of the same granularity that takes the range from the largest
    magnitude finds the same scales, and leaves each weight where it is. Where all weights of a
    scale are zero, any grid holds them.
    """
    integers = np.abs(quantize(weight.astype(np.float64), encoding))
    others = tuple(axis for axis in range(weight.ndim) if axis != encoding.axis)
    largest = integers.max(axis=None if encoding.axis is None else others, initial=0)
    return bool(((largest == encoding.qmax) | (largest == 0)).all())


def _along(bound: NDArray[np.float64], encoding: Encoding, rank: int) -> NDArray[np.float64]:
    """Shape a bound per channel so that it broadcasts over the weight."""
    if encoding.axis is None:
        return bound
    shape = [1] * rank
    shape[encoding.axis] = -1
    return bound.reshape(shape)
