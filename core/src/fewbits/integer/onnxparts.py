"""A few lines that write nodes by hand: constants, and values that hold integers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

MICROSOFT = "com.microsoft"


class Parts:
    """Collects the nodes and constants of a network that is being written.

    Args:
        graph: what they are added to.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self._count = 0

    def constant(self, array: Any, dtype: Any = None) -> ir.Value:
        """Add a constant and return it."""
        self._count += 1
        name = f"constant_{self._count}"
        held = np.asarray(array, dtype)
        tensor = ir.Tensor(np.array(held, order="C"), name=name)
        value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype))
        value.const_value = tensor
        self.graph.register_initializer(value)
        return value

    def op(
        self, op: str, *inputs: Any, domain: str = "", outputs: int = 1, **attributes: Any
    ) -> ir.Value:
        """Append a node and return its first output; arrays among the inputs become constants."""
        return self.ops(op, *inputs, domain=domain, outputs=outputs, **attributes)[0]

    def ops(
        self, op: str, *inputs: Any, domain: str = "", outputs: int = 1, **attributes: Any
    ) -> Sequence[ir.Value]:
        """Append a node and return all its outputs."""
        given = [self._value(x) for x in inputs]
        self._count += 1
        node = ir.node(
            op, given, attributes, domain=domain, num_outputs=outputs, name=f"{op}_{self._count}"
        )
        for place, value in enumerate(node.outputs):
            value.name = f"{node.name}_out{place}"
        self.graph.append(node)
        return node.outputs

    def cast(self, value: ir.Value, kind: ir.DataType) -> ir.Value:
        """Return a value in another type."""
        return self.op("Cast", value, to=int(kind))

    def _value(self, x: ir.Value | NDArray[Any] | np.generic | None) -> ir.Value | None:
        return x if x is None or isinstance(x, ir.Value) else self.constant(x)
