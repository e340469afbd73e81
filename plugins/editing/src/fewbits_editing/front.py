"""Nodes put between a network's input and what reads it; the input keeps its name."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from fewbits.errors import ModelError, RecipeError, nearest
from fewbits.graph import add_constant, free_name
from fewbits.model import Model
from numpy.typing import NDArray

Shape = tuple[int | str | None, ...]


def picked(model: Model, name: str, step: str) -> ir.Value:
    """Return the input that a step is for.

    Args:
        model: whose input.
        name: its name; empty for the only one.
        step: who asks, for messages.

    Raises:
        RecipeError: there is none of that name, several and no name, or several that share the
            preprocessing which the step would change for one of them.
        ModelError: it holds no floats, has no shape, or is an output too.
    """
    names = model.input_names
    if name not in names and (name or len(names) != 1):
        problem = f"has no input '{name}'" if name else f"has {len(names)} inputs"
        raise RecipeError(
            f"step '{step}': {model.name} {problem}.",
            hint=nearest(name, names) if name else f"Say input={names[0]}, for example.",
        )
    if len(names) > 1 and model.preprocess is not None:
        raise RecipeError(
            f"step '{step}': the inputs of {model.name} share one preprocessing, and it would"
            f" change for '{name}' alone.",
            hint="Parse the network without --preprocess, and give arrays of numbers.",
        )
    value = next(v for v in model.graph.inputs if v.name == (name or names[0]))
    if value.dtype is not ir.DataType.FLOAT or value.shape is None or value.is_graph_output():
        raise ModelError(
            f"Input '{value.name}' of {model.name} is {value.dtype} {value.shape}; step '{step}'"
            " needs floats of a known rank, and an input that is no output.",
            hint="Export the network with a float32 input.",
        )
    return value


def shape_of(value: ir.Value) -> Shape:
    """Return a value's shape with plain numbers, names of free dimensions, and None."""
    assert value.shape is not None
    return tuple(d if isinstance(d, int) else d.value for d in value.shape)


def picture_sides(value: ir.Value, axis: int, step: str) -> tuple[int, int, int]:
    """Return channels, height and width of an input of pictures.

    Args:
        value: the input.
        axis: of its channels, 1 or 3.
        step: who asks, for messages.

    Raises:
        ModelError: it has other than four dimensions, or a free one besides the batch.
    """
    shape = shape_of(value)
    rest = [size for place, size in enumerate(shape) if place not in (0, axis)]
    sizes = [size for size in (*shape[axis : axis + 1], *rest) if isinstance(size, int)]
    if len(shape) != 4 or len(sizes) != 3:
        raise ModelError(
            f"step '{step}': input '{value.name}' is {value.shape}, and pictures have four"
            " dimensions, of which only the batch may be free.",
            hint="Parse the network with --input-shape.",
        )
    channels, height, width = sizes
    return channels, height, width


class Front:
    """Nodes under construction between an input and what reads it now.

    Args:
        graph: the graph.
        value: its input.

    Example: `front.end(front.op("Neg", front.value, shape=front.shape))`.
    """

    def __init__(self, graph: ir.Graph, value: ir.Value) -> None:
        self.graph = graph
        self.value = value
        self._uses = [(use.node, use.idx) for use in value.uses()]
        self._nodes: list[ir.Node] = []
        self._names = {str(node.name) for node in graph} | {
            str(v.name) for node in graph for v in node.outputs
        }

    def constant(self, label: str, array: NDArray[Any]) -> ir.Value:
        """Add a constant named after the input."""
        return add_constant(self.graph, free_name(self.graph, self._free(label)), array)

    def indices(self, label: str, *numbers: int) -> ir.Value:
        """Add a constant of whole numbers."""
        return self.constant(label, np.asarray(numbers, np.int64))

    def op(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        label: str,
        shape: Sequence[int | str | None],
        **attributes: Any,
    ) -> ir.Value:
        """Add a node named after the input and return its output.

        Args:
            op_type: the op.
            inputs: what it reads.
            label: stands behind the input's name in the node's.
            shape: of its output.
            attributes: of the node.
        """
        name = self._free(label)
        self._names.add(name)
        node = ir.node(op_type, list(inputs), attributes=attributes, name=name)
        output = node.outputs[0]
        output.name, output.shape = f"{name}_out", ir.Shape(shape)
        output.type = ir.TensorType(ir.DataType.FLOAT)
        self._nodes.append(node)
        return output

    def end(self, result: ir.Value, shape: Shape | None = None) -> None:
        """Put the nodes into the graph: what read the input now reads `result`.

        Args:
            result: takes the input's place.
            shape: the input's new shape; None where it stays.
        """
        first = next(iter(self.graph), None)
        if first is not None:
            self.graph.insert_before(first, self._nodes)
        for node, index in self._uses:
            node.replace_input_with(index, result)
        if shape is not None:
            self.value.shape = ir.Shape(shape)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the nodes added so far."""
        return tuple(str(node.name) for node in self._nodes)

    def _free(self, label: str) -> str:
        base = f"{self.value.name}.{label}"
        name, number = base, 1
        while name in self._names:
            name, number = f"{base}.{number}", number + 1
        return name
