"""What is added to a layer's output right behind it: the other branch of a residual block."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.graph import Layer, constant, only_reader
from fewbits.stored import Activations


@dataclass(frozen=True)
class Addend:
    """The other operand of the addition that reads a layer's output.

    Args:
        float_source: in the float branch.
        source: in the quantized branch, upstream as it stands.
    """

    float_source: Activations
    source: Activations

    def missing(self, rows: Sequence[int] | NDArray[np.integer]) -> NDArray[np.float32]:
        """Return what the quantized branch lacks of some samples, float minus quantized."""
        there = self.source.real(self.source.rows(rows))
        return np.asarray(self.float_source.rows(rows), np.float32) - there


def added_behind(layer: Layer) -> ir.Value | None:
    """Return what an Add that alone reads a layer's output adds to it, if of the same shape.

    None behind a fused activation, and where shapes are not known.
    """
    output = layer.output
    reader = only_reader(output)
    if layer.activation is not None or reader is None or reader.op_type != "Add":
        return None
    others = [value for value in reader.inputs if value is not None and value is not output]
    if len(others) != 1 or constant(others[0]) is not None:
        return None
    same = output.shape is not None and output.shape == others[0].shape
    return others[0] if same else None
