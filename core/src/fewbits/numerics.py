"""THE rounding rules: real numbers to integers and back. Arrays in, arrays out.

`q = clip(round_half_even(x / scale) + zero_point, qmin, qmax)` and `x ≈ (q − zero_point) · scale`.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fewbits.model import Encoding

_T = TypeVar("_T", bound=np.generic)


def _along(parameter: NDArray[_T], axis: int | None, ndim: int) -> NDArray[_T]:
    """Reshape per-channel parameters `(channels,)` so that they broadcast along `axis`."""
    if axis is None or parameter.ndim == 0:
        return parameter
    shape = [1] * ndim
    shape[axis] = -1
    return parameter.reshape(shape)


def quantize(x: NDArray[np.floating], encoding: Encoding) -> NDArray[np.int64]:
    """Map real values to integers, rounding half to even.

    Args:
        x: any shape; with a per-channel encoding, `encoding.axis` indexes the channels.
        encoding: bits, sign, scale and zero point.

    Returns:
        int64, the shape of `x`, within `[encoding.qmin, encoding.qmax]`.

    >>> e = Encoding(8, False, np.float32(0.5), np.int64(10))
    >>> quantize(np.array([0.0, 0.25, 0.75, 1000.0]), e)
    array([ 10,  10,  12, 255])
    """
    scale = _along(encoding.scale, encoding.axis, x.ndim)
    zero_point = _along(encoding.zero_point, encoding.axis, x.ndim)
    # Up to 16 bits we divide in float32 as the runtime does; a bias needs more than its 24 bits.
    exact = x.astype(np.float64) if encoding.bits > 16 else x
    q = np.rint(exact / scale) + zero_point
    clipped = np.clip(q, encoding.qmin, encoding.qmax)
    return np.asarray(clipped, np.int64)


def dequantize(q: NDArray[np.integer], encoding: Encoding) -> NDArray[np.float32]:
    """Map integers to the real values they stand for, computed in float64, given in float32."""
    scale = _along(encoding.scale, encoding.axis, q.ndim)
    zero_point = _along(encoding.zero_point, encoding.axis, q.ndim)
    return ((q - zero_point) * scale.astype(np.float64)).astype(np.float32)


def fake_quantize(x: NDArray[np.floating], encoding: Encoding) -> NDArray[np.float32]:
    """Round real values onto the encoding's grid: `dequantize(quantize(x))`."""
    return dequantize(quantize(x, encoding), encoding)


def requantize(
    accumulator: NDArray[np.int64],
    multiplier: NDArray[np.float32] | np.float32,
    encoding: Encoding,
    axis: int | None = None,
) -> NDArray[np.int64]:
    """Bring an integer accumulator onto the output's grid.

    Args:
        accumulator: exact sums of products, bias added.
        multiplier: `s_w · s_a / s_out`, float32; one, or one per channel along `axis`.
        encoding: the output's encoding.
        axis: channel axis of a per-channel multiplier.

    Returns:
        `clip(round_half_even(accumulator · multiplier) + zero_point, qmin, qmax)`, int64.
    """
    factor = _along(np.asarray(multiplier, np.float32), axis, accumulator.ndim)
    scaled = np.rint(accumulator.astype(np.float32) * factor)
    clipped = np.clip(scaled + encoding.zero_point, encoding.qmin, encoding.qmax)
    return np.asarray(clipped, np.int64)


def encoding_from_range(low: float, high: float, bits: int, *, signed: bool = False) -> Encoding:
    """Build an activation's encoding: asymmetric, per tensor, zero exactly representable.

    Args:
        low: smallest value to represent; taken as 0 when it lies above.
        high: largest value to represent; taken as 0 when it lies below.
        bits: width.
        signed: two's complement instead of unsigned.
    """
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    levels = (1 << bits) - 1
    scale = np.asarray(
        max((high - low) / levels, float(np.finfo(np.float32).tiny) * 2**24), np.float32
    )
    qmin = -(1 << (bits - 1)) if signed else 0
    zero_point = int(np.clip(np.rint(qmin - low / float(scale)), qmin, qmin + levels))
    return Encoding(bits, signed, scale, np.asarray(zero_point, np.int64))
