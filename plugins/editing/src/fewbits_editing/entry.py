"""The layers that read a network's input, seen as matrices over its channels."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from fewbits.graph import constant, int_attribute, is_layer, readers
from fewbits.windows import numbers, text
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Entry:
    """A Conv or Gemm whose first input is the network's.

    Args:
        node: the layer.
        weight: `(out, in/groups, *kernel)` in float64, outputs first for a Gemm too.
        transposed: whether the graph holds a Gemm's weight with its outputs last.
    """

    node: ir.Node
    weight: Array
    transposed: bool = False

    @property
    def groups(self) -> int:
        """Groups of the convolution; 1 for a Gemm."""
        return int_attribute(self.node, "group", 1)

    @property
    def channels(self) -> int:
        """Number of input channels."""
        return int(self.weight.shape[1]) * self.groups

    @property
    def padded(self) -> bool:
        """Whether some of its outputs read zeros around the picture."""
        automatic = text(self.node, "auto_pad", "NOTSET")
        return automatic.startswith("SAME") or any(numbers(self.node, "pads", ()))

    def store(self, weight: Array) -> NDArray[np.float32]:
        """Return a weight as the graph holds it."""
        return np.ascontiguousarray(weight.T if self.transposed else weight).astype(np.float32)


def entry_layers(value: ir.Value) -> list[Entry] | None:
    """Return the layers that read an input; None if anything else reads it too."""
    found = [_entry(node, value) for node in readers(value)]
    entries = [entry for entry in found if entry is not None]
    return entries if entries and len(entries) == len(found) else None


def _entry(node: ir.Node, value: ir.Value) -> Entry | None:
    if node.op_type not in ("Conv", "Gemm") or not is_layer(node) or node.inputs[0] is not value:
        return None
    held = constant(node.inputs[1])
    assert held is not None
    transposed = node.op_type == "Gemm" and not int_attribute(node, "transB", 0)
    wide = held.astype(np.float64)
    return Entry(node, wide.T if transposed else wide, transposed)
