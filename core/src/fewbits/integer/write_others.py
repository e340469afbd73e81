"""Averages, softmax, resizing and tables."""

import numpy as np
import onnx_ir as ir

from fewbits.graph import int_attribute
from fewbits.integer.chains import tabulate
from fewbits.integer.rules import Rules, mean_axes, window_sums
from fewbits.integer.scales import exponentials, ratio
from fewbits.integer.sheet import Sheet
from fewbits.integer.units import Unit
from fewbits.integer.write_layers import exact_conv
from fewbits.windows import numbers, window

DOUBLE = ir.DataType.DOUBLE


def average(sheet: Sheet, unit: Unit) -> ir.Value:
    """Write a mean: an exact sum, then a multiplier that has the count in it."""
    (source,) = unit.sources
    sizes = [size if isinstance(size, int) else 1 for size in source.shape or ()]
    counts, _ = window_sums(unit, np.ones((1, *sizes[1:]), np.int64))
    m = Rules(sheet.model, sheet.arithmetic).average_multiplier(unit, counts)
    if unit.node.op_type == "AveragePool":
        sums = _windows(sheet, unit, sizes)
    else:
        axes, keep = mean_axes(unit, len(sizes))
        x = sheet.centred(source, DOUBLE)
        sums = sheet.parts.op("ReduceSum", x, np.array(axes, np.int64), keepdims=int(keep))
    if not sheet.wide(unit):
        sums = sheet.parts.cast(sums, ir.DataType.FLOAT)
    return sheet.requantized(sums, m, unit)


def _windows(sheet: Sheet, unit: Unit, sizes: list[int]) -> ir.Value:
    """Write the sum over each window as a convolution with ones, channel by channel."""
    (source,) = unit.sources
    place = window(unit.node, numbers(unit.node, "kernel_shape", ()), sizes[2:])
    channels = sizes[1]
    ones = np.ones((channels, 1, *place.kernel), np.int64)
    ends = [e + max(more, 0) for e, more in zip(place.end, place.surplus, strict=True)]
    conv = ir.node(
        "Conv",
        [],
        {
            "group": channels,
            "kernel_shape": list(place.kernel),
            "strides": list(place.strides),
            "dilations": list(place.dilations),
            "pads": [*place.begin, *ends],
        },
    )
    encoding = sheet.encoding(source)
    reach = encoding.qmax - encoding.qmin
    return exact_conv(sheet, conv, sheet.centred(source), ones, reach)


def softmax(sheet: Sheet, unit: Unit) -> ir.Value:
    """Write a softmax: exponentials by table, their shares in float64."""
    (source,) = unit.sources
    axis = int_attribute(unit.node, "axis", -1)
    entries = exponentials(sheet.encoding(source), sheet.arithmetic.exponential_bits)
    q = sheet.parts.cast(sheet.integers(source), ir.DataType.INT32)
    axes = np.array([axis], np.int64)
    distance = sheet.parts.op("Sub", sheet.parts.op("ReduceMax", q, axes, keepdims=1), q)
    raised = sheet.parts.op("Gather", entries.astype(np.float64), distance)
    total = sheet.parts.op("ReduceSum", raised, axes, keepdims=1)
    share = sheet.parts.op("Div", raised, total)
    scale = sheet.encoding(unit.output).scale.astype(np.float64)
    return sheet.rounded(sheet.parts.op("Div", share, scale), unit, wide=True)


def resize(sheet: Sheet, unit: Unit) -> ir.Value:
    """Write a linear resize by powers of two, which float32 computes exactly."""
    (source,) = unit.sources
    given = [sheet.centred(source), *map(sheet.copied, unit.node.inputs[1:])]
    m = ratio(sheet.encoding(source), sheet.encoding(unit.output), sheet.arithmetic.multiplier_bits)
    x = sheet.parts.op("Resize", *given, **sheet.attributes(unit.node))
    if sheet.wide(unit):
        x = sheet.parts.cast(x, DOUBLE)
    return sheet.requantized(x, m, unit)


def table(sheet: Sheet, unit: Unit) -> ir.Value:
    """Write a look-up; tables that differ by channel lie behind each other."""
    assert unit.chain is not None
    (source,) = unit.sources
    encoding, target = sheet.encoding(source), sheet.encoding(unit.output)
    found = tabulate(unit.chain, encoding, target, dict(sheet.model.graph.opset_imports))
    index = sheet.parts.cast(sheet.integers(source), ir.DataType.INT32)
    if found.axis is not None:
        count, levels = found.entries.shape
        starts = np.arange(count, dtype=np.int32) * np.int32(levels)
        index = sheet.parts.op("Add", index, starts.reshape(-1, *(1,) * (-found.axis - 1)))
    kind = np.uint8 if target.bits <= 8 else np.float32
    return sheet.parts.op("Gather", found.entries.ravel().astype(kind), index)
