"""Layers in ONNX Runtime's kernels, exact to the bit."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.graph import Layer, constant, int_attribute
from fewbits.integer.onnxparts import MICROSOFT
from fewbits.integer.rules import along, bias_integers, channel_axis, per_channel
from fewbits.integer.scales import layer_multiplier
from fewbits.integer.sheet import ONE, Sheet
from fewbits.integer.units import Unit
from fewbits.numerics import quantize

_EXACT = 2.0**24


def layer(sheet: Sheet, unit: Unit) -> ir.Value:
    """Write a layer: an integer kernel where there is one, exact sums of floats elsewhere."""
    held = unit.layer
    assert held is not None
    source, weight = sheet.encoding(held.input), sheet.encoding(held.weight)
    m = layer_multiplier(
        weight, source, sheet.encoding(unit.output), sheet.arithmetic.multiplier_bits
    )
    w = quantize(np.asarray(constant(held.weight), np.float64), weight)
    bias = None
    if held.bias is not None:
        bias = bias_integers(held, sheet.model, _bias_values(sheet, held))
    kernels = {"Conv": _conv, "Gemm": _gemm, "MatMul": _matmul}
    if sheet.wide(unit) or held.op_type not in kernels:
        return _in_float(sheet, unit, held, w, bias, m)
    return kernels[held.op_type](sheet, unit, held, w, bias, m)


def _bias_values(sheet: Sheet, held: Layer) -> NDArray[Any]:
    assert held.bias is not None
    array, encoding = (
        np.asarray(constant(held.bias)),
        sheet.model.encodings.get(str(held.bias.name)),
    )
    return array if encoding is None else quantize(array, encoding)


def _weight(sheet: Sheet, w: NDArray[np.int64], scales: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a weight as an integer kernel takes it, and its zero points."""
    if sheet.unsigned_weights:
        return (w + 128).astype(np.uint8), np.full(scales or (), 128, np.uint8)
    return w.astype(np.int8), np.zeros(scales or (), np.int8)


def _conv(sheet: Sheet, unit: Unit, held: Layer, w: Any, bias: Any, m: Any) -> ir.Value:
    stored, zeros = _weight(sheet, w, m.size if m.ndim else 0)
    more = [] if bias is None else [bias.astype(np.int32)]
    x, z, z_out = sheet.integers(held.input), sheet.zero(held.input), sheet.zero(unit.output)
    given = (x, ONE, z, stored, m, zeros, ONE, z_out, *more)
    return sheet.parts.op("QLinearConv", *given, **sheet.attributes(held.node))


def _gemm(sheet: Sheet, unit: Unit, held: Layer, w: Any, bias: Any, m: Any) -> ir.Value:
    stored, zeros = _weight(sheet, w, m.size if m.ndim else 0)
    x, z, z_out = sheet.integers(held.input), sheet.zero(held.input), sheet.zero(unit.output)
    added = None if bias is None else bias.astype(np.int32)
    given = (x, ONE, z, stored, m, zeros, added, ONE, z_out)
    transposed = int_attribute(held.node, "transB", 0)
    return sheet.parts.op("QGemm", *given, domain=MICROSOFT, transB=transposed)


def _matmul(sheet: Sheet, unit: Unit, held: Layer, w: Any, bias: Any, m: Any) -> ir.Value:
    stored, zeros = _weight(sheet, w, m.size if m.ndim else 0)
    x, z, z_out = sheet.integers(held.input), sheet.zero(held.input), sheet.zero(unit.output)
    return sheet.parts.op("QLinearMatMul", x, ONE, z, stored, m, zeros, ONE, z_out)


def _in_float(sheet: Sheet, unit: Unit, held: Layer, w: Any, bias: Any, m: Any) -> ir.Value:
    """Write exact sums in float64, then the rule of a wide or of a narrow layer."""
    ndim = len(unit.layer.node.outputs[0].shape or ()) if unit.layer is not None else 0
    axis = channel_axis(held, ndim)
    if held.op_type.startswith("Conv"):
        reach = _reach(sheet, held.input)
        sums = exact_conv(sheet, held.node, sheet.centred(held.input), w, reach)
    else:
        x = sheet.centred(held.input, ir.DataType.DOUBLE)
        transposed = held.op_type == "Gemm" and held.weight_axis == 0
        sums = sheet.parts.op("MatMul", x, (w.T if transposed else w).astype(np.float64))
    if bias is not None:
        sums = sheet.parts.op("Add", sums, along(bias, axis, ndim).astype(np.float64))
    if not sheet.wide(unit):
        sums = sheet.parts.cast(sums, ir.DataType.FLOAT)
    return sheet.requantized(sums, per_channel(m, held, axis, ndim), unit)


def _reach(sheet: Sheet, value: ir.Value) -> int:
    """Return the largest magnitude of `q − z`."""
    encoding = sheet.encoding(value)
    zero = int(encoding.zero_point)
    return max(encoding.qmax - zero, zero - encoding.qmin)


def exact_conv(
    sheet: Sheet, node: ir.Node, x: ir.Value, w: NDArray[np.int64], reach: int
) -> ir.Value:
    """Write a convolution of integers with float32 kernels; return its exact sums in float64.

    Float32 holds every integer below 2^24, so sums of magnitudes below that are exact in any
    order. Where a layer's could be larger, weight and input are split into digits.

    Args:
        sheet: what is written on.
        node: Conv or ConvTranspose, whose attributes hold.
        x: `q − z`, float32.
        w: the weight's integers.
        reach: largest magnitude of `x`.
    """
    total: ir.Value | None = None
    for part, weight_shift in _weight_digits(w):
        bits = _digit_bits(part, node.op_type)
        kernel = part.astype(np.float32)
        for digit, shift in _input_digits(sheet, x, reach, bits):
            sums = sheet.parts.op(node.op_type, digit, kernel, **sheet.attributes(node))
            sums = sheet.parts.cast(sums, ir.DataType.DOUBLE)
            if shift + weight_shift:
                sums = sheet.parts.op("Mul", sums, np.float64(2.0 ** (shift + weight_shift)))
            total = sums if total is None else sheet.parts.op("Add", total, sums)
    assert total is not None
    return total


def _weight_digits(w: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield a weight in parts of 8 bits, with the power of two that each stands for."""
    if np.abs(w).max(initial=0) < 256:
        yield w, 0
        return
    high = w >> 8
    yield w - (high << 8), 0
    yield high, 8


def _digit_bits(w: NDArray[np.int64], op_type: str) -> int:
    """Return how many bits of input a sum over this weight's magnitudes leaves room for."""
    axes = tuple(axis for axis in range(w.ndim) if axis != (1 if op_type == "ConvTranspose" else 0))
    largest = float(np.abs(w).sum(axis=axes).max(initial=0)) or 1.0
    return int(np.floor(np.log2((_EXACT - 1) / largest)))


def _input_digits(
    sheet: Sheet, x: ir.Value, reach: int, bits: int
) -> Iterator[tuple[ir.Value, int]]:
    """Yield `x` in digits of so many bits, the last one signed, with each one's shift."""
    shift = 0
    base = np.float32(2.0**bits)
    while reach > 2**bits:
        high = sheet.parts.op("Floor", sheet.parts.op("Mul", x, np.float32(1) / base))
        yield sheet.parts.op("Sub", x, sheet.parts.op("Mul", high, base)), shift
        x, reach, shift = high, -(-reach // 2**bits), shift + bits
    yield x, shift
