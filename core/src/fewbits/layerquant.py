"""Puts one layer's weight and bias onto their integer grids."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fewbits.bias import bias_encoding, expected_shift, with_room_for_bias
from fewbits.graph import Layer, constant, set_constant
from fewbits.model import Encoding, Precision
from fewbits.numerics import fake_quantize
from fewbits.shifts import within_spread
from fewbits.targets import ShiftLimits
from fewbits.weightrange import weight_encoding


def quantize_layer(
    layer: Layer,
    precision: Precision,
    source: Encoding,
    *,
    per_channel: bool = True,
    method: Literal["minmax", "mse"] = "mse",
    mean: NDArray[np.float64] | None = None,
    bias_bits: int = 32,
    limits: ShiftLimits | None = None,
) -> dict[str, Encoding]:
    """Round a layer's weight and bias in place, to nearest, and return their encodings by name.

    Args:
        layer: of a graph that may be changed.
        precision: bits of the weight.
        source: encoding of the layer's input.
        per_channel: one weight scale per output channel, or one in all.
        method: how the weight's range is found (`weightrange.weight_encoding`).
        mean: mean of each input channel; with it the bias takes up the shift of the output's mean
            that rounding causes (`bias.expected_shift`).
        bias_bits: width of the accumulator at 8-bit activations; 48 is used above.
        limits: of the device's shifts, which no two channels' scales may exceed.
    """
    weight = np.asarray(constant(layer.weight), np.float32)
    axis = layer.weight_axis if per_channel else None
    encoding = weight_encoding(weight, precision.weight_bits, axis=axis, method=method)
    encoding = within_spread(encoding, limits)
    if layer.bias is None:
        set_constant(layer.weight, fake_quantize(weight, encoding))
        return {str(layer.weight.name): encoding}
    bias = np.asarray(constant(layer.bias), np.float64)
    bits = bias_bits if source.bits <= 8 and precision.weight_bits <= 8 else 48
    encoding = within_spread(with_room_for_bias(encoding, bias, source, bits), limits)
    rounded = fake_quantize(weight, encoding)
    if mean is not None:
        bias = bias + _shift(layer, weight - rounded, mean)
    on_grid = bias_encoding(encoding, source, len(bias), bits)
    set_constant(layer.bias, fake_quantize(bias, on_grid))
    set_constant(layer.weight, rounded)
    return {str(layer.weight.name): encoding, str(layer.bias.name): on_grid}


def _shift(
    layer: Layer, difference: NDArray[np.float32], mean: NDArray[np.float64]
) -> NDArray[np.float64]:
    if layer.op_type == "Gemm" and layer.weight_axis == 1:
        difference = difference.T
    strides = layer.node.attributes.get("strides")
    stride = int(np.prod(strides.as_ints())) if strides is not None else 1
    return expected_shift(difference, mean, layer.op_type, layer.groups, stride)
