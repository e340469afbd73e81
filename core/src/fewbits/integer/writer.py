"""A quantized network written for ONNX Runtime so that it follows `rules` to the bit.

A tensor of 8 bits is held in uint8; where all of a unit's data are, ONNX Runtime's integer kernels
compute it, their scales chosen so that the multiplier is the rule's own. A wider tensor is held in
float32, which every kernel takes; its sums are formed so that float32 or float64 is exact.
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from fewbits.errors import ModelError
from fewbits.graph import constant
from fewbits.integer import write_layers, write_moves, write_others, write_pairs
from fewbits.integer.onnxparts import MICROSOFT
from fewbits.integer.rules import bounds
from fewbits.integer.sheet import Sheet
from fewbits.integer.units import Unit, units
from fewbits.model import Model, Stage
from fewbits.numerics import quantize
from fewbits.targets import Arithmetic

_WRITE: Mapping[str, Callable[[Sheet, Unit], ir.Value]] = {
    "layer": write_layers.layer,
    "sum": write_pairs.sum_,
    "product": write_pairs.product,
    "matmul": write_pairs.matmul,
    "concat": write_pairs.concat,
    "average": write_others.average,
    "softmax": write_others.softmax,
    "resize": write_others.resize,
    "table": write_others.table,
}


def to_integers(
    model: Model, arithmetic: Arithmetic, *, unsigned_weights: bool = False
) -> ir.Model:
    """Write a quantized model as a network of integers with the same inputs and outputs.

    Args:
        model: at stage `quantized`; it is not changed.
        arithmetic: of the device.
        unsigned_weights: hold 8-bit weights as unsigned integers with zero point 128, for
            processors whose u8·s8 products saturate.

    Raises:
        ModelError: the model is not quantized, or an op has no rule in integers.
    """
    if model.stage.rank < Stage.QUANTIZED.rank:
        raise ModelError(
            f"{model.name} is {model.stage}, not quantized.", hint="Run `fewbits optimize` first."
        )
    opsets = {**model.graph.opset_imports, MICROSOFT: 1}
    inputs = [_like(value) for value in model.graph.inputs]
    graph = ir.Graph(inputs, [], nodes=[], opset_imports=opsets, name=model.graph.name)
    sheet = Sheet(model, arithmetic, graph, unsigned_weights=unsigned_weights)
    _hold_constants(sheet)
    for value in inputs:
        sheet.hold_input(value)
    for unit in units(model):
        _write(sheet, unit)
    for value in model.graph.outputs:
        graph.outputs.append(_output(sheet, value))
    return ir.Model(graph, ir_version=model.network.ir_version)


def _like(value: ir.Value) -> ir.Value:
    return ir.Value(name=value.name, shape=value.shape, type=value.type)


def _hold_constants(sheet: Sheet) -> None:
    """Hold the constants that are data of their own; a layer's are written with the layer."""
    for name, value in sheet.model.graph.initializers.items():
        encoding, array = sheet.model.encodings.get(name), constant(value)
        if encoding is not None and array is not None and encoding.bits <= 16:
            sheet.constants[name] = quantize(np.asarray(array, np.float32), encoding)


def _write(sheet: Sheet, unit: Unit) -> None:
    if unit.kind == "move":
        write_moves.moved(sheet, unit)
        return
    sheet.hold(unit.output, _bounded(sheet, unit, _WRITE[unit.kind](sheet, unit)))


def _bounded(sheet: Sheet, unit: Unit, q: ir.Value) -> ir.Value:
    """Keep integers between the fused activation's bounds, where they bound anything."""
    encoding = sheet.encoding(unit.output)
    low, high = bounds(unit, encoding)
    kind = np.uint8 if encoding.bits <= 8 else np.float32
    if high.ndim:
        q = sheet.parts.op("Min", q, high.astype(kind))
        high = np.asarray(encoding.qmax)
    if low > encoding.qmin or high < encoding.qmax:
        q = sheet.parts.op("Clip", q, np.asarray(low, kind), high.astype(kind))
    return q


def _output(sheet: Sheet, value: ir.Value) -> ir.Value:
    real = sheet.real(value)
    real.name = value.name
    real.shape, real.type = value.shape, value.type
    return real
