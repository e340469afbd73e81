"""Ops of two tensors or more: sums, products, matrix products, concatenations."""

import numpy as np
import onnx_ir as ir

from fewbits.graph import int_attribute
from fewbits.integer.onnxparts import MICROSOFT
from fewbits.integer.scales import factors, layer_multiplier, ratio
from fewbits.integer.sheet import ONE, Sheet
from fewbits.integer.units import Unit

DOUBLE = ir.DataType.DOUBLE


def sum_(sheet: Sheet, unit: Unit) -> ir.Value:
    """Write a sum or difference; with factors of few bits, every step of it is exact."""
    target = sheet.encoding(unit.output)
    a, b = unit.sources
    weights, shift = factors(
        [sheet.encoding(a), sheet.encoding(b)], target, sheet.arithmetic.factor_bits
    )
    steps = weights * 2.0**-shift
    if unit.node.op_type == "Add" and not sheet.wide(unit):
        first, second = steps.astype(np.float32)
        given = (sheet.integers(a), first, sheet.zero(a), sheet.integers(b), second, sheet.zero(b))
        end = (ONE, sheet.zero(unit.output))
        return sheet.parts.op("QLinearAdd", *given, *end, domain=MICROSOFT)
    kind = DOUBLE if sheet.wide(unit) else ir.DataType.FLOAT
    scaled = [
        sheet.parts.op("Mul", sheet.centred(v, kind), step.astype(kind.numpy()))
        for v, step in zip((a, b), steps, strict=True)
    ]
    v = sheet.parts.op(unit.node.op_type, *scaled)
    v = sheet.parts.op("Add", v, target.zero_point.astype(kind.numpy()))
    return sheet.on_grid(v, target, np.zeros((), kind.numpy()))


def product(sheet: Sheet, unit: Unit) -> ir.Value:
    """Write a product: exact, then requantized as a layer's accumulator."""
    kind = DOUBLE if sheet.wide(unit) else ir.DataType.FLOAT
    a, b = (sheet.centred(v, kind) for v in unit.sources)
    return sheet.requantized(sheet.parts.op("Mul", a, b), _multiplier(sheet, unit), unit)


def matmul(sheet: Sheet, unit: Unit) -> ir.Value:
    """Write a matrix product of two computed tensors."""
    a, b = unit.sources
    m = _multiplier(sheet, unit)
    if sheet.wide(unit):
        sums = sheet.parts.op("MatMul", sheet.centred(a, DOUBLE), sheet.centred(b, DOUBLE))
        return sheet.requantized(sums, m, unit)
    given = (sheet.integers(a), ONE, sheet.zero(a), sheet.integers(b), m, sheet.zero(b))
    return sheet.parts.op("QLinearMatMul", *given, ONE, sheet.zero(unit.output))


def _multiplier(sheet: Sheet, unit: Unit) -> np.ndarray:
    a, b = (sheet.encoding(v) for v in unit.sources)
    return layer_multiplier(b, a, sheet.encoding(unit.output), sheet.arithmetic.multiplier_bits)


def concat(sheet: Sheet, unit: Unit) -> ir.Value:
    """Write a concatenation; each part is brought onto the output's grid."""
    target, parts = sheet.encoding(unit.output), []
    wide = sheet.wide(unit)
    for value in unit.sources:
        source = sheet.encoding(value)
        part = sheet.integers(value)
        if not source.equals(target):
            m = ratio(source, target, sheet.arithmetic.multiplier_bits)
            kind = DOUBLE if wide else ir.DataType.FLOAT
            part = sheet.requantized(sheet.centred(value, kind), m, unit)
        parts.append(part)
    return sheet.parts.op("Concat", *parts, axis=int_attribute(unit.node, "axis", 0))
