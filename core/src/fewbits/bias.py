"""Biases on integer grids, and the shift that rounded weights leave behind."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fewbits.model import Encoding

SMALLEST_STEP = 2.0**-125  # a normal float32


def bias_encoding(weight: Encoding, source: Encoding, channels: int, bits: int) -> Encoding:
    """Return the encoding of a bias: the accumulator's step `s_w · s_a`, per output channel.

    Args:
        weight: the weight's encoding.
        source: the input activation's encoding.
        channels: length of the bias; a multiple of the weight's scales where groups share them.
        bits: width of the accumulator.
    """
    scale = np.asarray(weight.scale * source.scale, np.float32)
    if scale.ndim:
        scale = np.tile(scale, channels // scale.size)
    axis = 0 if scale.ndim else None
    return Encoding(bits, True, scale, np.zeros(scale.shape, np.int64), axis)


def with_room_for_bias(
    weight: Encoding, bias: NDArray[np.floating], source: Encoding, bits: int
) -> Encoding:
    """Raise weight scales so far that the bias fits its integer, with half of it to spare.

    The accumulator's step stays a normal float32 too, however small the values seen were.

    Args:
        weight: the weight's encoding.
        bias: `(out,)`.
        source: the input activation's encoding.
        bits: width of the accumulator.
    """
    peak = np.abs(bias.astype(np.float64))
    peak = peak.reshape(-1, weight.scale.size).max(axis=0) if weight.scale.ndim else peak.max()
    least = np.maximum(peak / 2.0 ** (bits - 2), SMALLEST_STEP) / float(source.scale)
    return replace(weight, scale=np.maximum(weight.scale, least).astype(np.float32))


def expected_shift(
    difference: NDArray[np.floating],
    mean: NDArray[np.floating],
    op_type: str,
    groups: int = 1,
    stride: int = 1,
) -> NDArray[np.float64]:
    """Return what a change of weights does to the mean of each output channel.

    `E[(W − W_q) x] = (W − W_q) E[x]` (Nagel et al. 2019, section 4.2, with measured means). Where
    padding lies under a kernel the mean of the input is taken all the same.

    Args:
        difference: `W − W_q`: `(out, in/groups, kh, kw)` for Conv, `(in, out/groups, kh, kw)` for
            ConvTranspose, `(out, in)` for Gemm.
        mean: mean of each input channel, `(in,)`.
        op_type: Conv, ConvTranspose or Gemm.
        groups: number of channel groups.
        stride: product of a ConvTranspose's strides: the share of its taps that reaches a pixel.

    Returns:
        float64, `(out,)`.

    >>> expected_shift(np.array([[1.0, 2.0]]), np.array([10.0, 1.0]), "Gemm")
    array([12.])
    """
    taps = difference.astype(np.float64).sum(axis=tuple(range(2, difference.ndim)))
    per_group = mean.astype(np.float64).reshape(groups, -1)
    grouped = taps.reshape(groups, -1, taps.shape[1])
    if op_type == "ConvTranspose":
        grouped = grouped.transpose(0, 2, 1) / stride
    shift: NDArray[np.float64] = np.einsum("goi,gi->go", grouped, per_group).ravel()
    return shift
