"""Ops that put integers elsewhere."""

import numpy as np

from fewbits.integer.sheet import Sheet
from fewbits.integer.units import Unit


def moved(sheet: Sheet, unit: Unit) -> None:
    """Write the same op on integers; what a Pad adds is the zero point."""
    node, (source,) = unit.node, unit.sources
    q = sheet.integers(source)
    given = [q, *map(sheet.copied, node.inputs[1:])]
    if node.op_type == "Pad":
        kind = np.uint8 if sheet.encoding(source).bits <= 8 else np.float32
        fill = sheet.encoding(source).zero_point.astype(kind)
        given[2:3] = [sheet.parts.constant(fill)]
    outputs = sheet.parts.ops(
        node.op_type, *given, outputs=len(node.outputs), **sheet.attributes(node)
    )
    for value, written in zip(node.outputs, outputs, strict=True):
        if value.name:
            sheet.hold(value, written)
