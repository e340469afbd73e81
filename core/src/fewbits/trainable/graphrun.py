"""What running a graph in torch takes: the order of the nodes, constants, one node at a time."""

from collections.abc import Collection, Mapping

import onnx_ir as ir
import torch
from torch import Tensor, nn

from fewbits.graph import constant
from fewbits.trainable.ops import Op, op_of

Tensors = dict[str, Tensor]


class Constants(nn.Module):
    """The constants of a graph as buffers, so that they go where the module goes.

    Args:
        graph: the graph.
        without: names of those that are held elsewhere.
    """

    def __init__(self, graph: ir.Graph, without: Collection[str] = ()) -> None:
        super().__init__()
        self._buffer_of: dict[str, str] = {}
        for number, (name, value) in enumerate(graph.initializers.items()):
            array = constant(value)
            if array is not None and name not in without:
                self._buffer_of[name] = f"constant_{number}"
                self.register_buffer(self._buffer_of[name], laid_out(torch.tensor(array)))

    def forward(self) -> Tensors:
        """Return name → tensor."""
        return {name: self.get_buffer(buffer) for name, buffer in self._buffer_of.items()}


class FloatNetwork(nn.Module):
    """A model in full precision, for comparison.

    Args:
        graph: the graph.

    Raises:
        ModelError: it holds an op that torch is not taught here.
    """

    def __init__(self, graph: ir.Graph) -> None:
        super().__init__()
        self._graph = graph
        self._ops = {node: op_of(node) for node in graph}
        self._constants = Constants(graph)

    def forward(self, inputs: Tensors, wanted: Collection[str]) -> Tensors:
        """Compute the values called `wanted`.

        Args:
            inputs: input name → array, batch first.
            wanted: names of values.
        """
        held: Tensors = self._constants()
        held |= {name: laid_out(x) for name, x in inputs.items()}
        for node, finished in schedule(self._graph, wanted):
            held |= evaluated(node, self._ops[node], held)
            for name in finished:
                del held[name]
        return {name: held[name] for name in wanted}


def evaluated(node: ir.Node, op: Op, held: Mapping[str, Tensor]) -> Tensors:
    """Return a node's outputs by name, given the values it reads."""
    inputs = [None if v is None or not v.name else held[v.name] for v in node.inputs]
    named = zip(node.outputs, op(node, inputs), strict=False)
    return {str(value.name): x for value, x in named}


def laid_out(x: Tensor) -> Tensor:
    """Return pictures with the channels of a pixel side by side, which torch computes faster on."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def schedule(graph: ir.Graph, wanted: Collection[str]) -> list[tuple[ir.Node, list[str]]]:
    """Return the nodes that `wanted` needs, each with the values that nothing reads after it."""
    needed, nodes = set(wanted), []
    for node in reversed(graph):
        if any(value.name in needed for value in node.outputs):
            needed |= {str(value.name) for value in node.inputs if value is not None}
            nodes.append(node)
    nodes.reverse()
    last = {str(v.name): at for at, node in enumerate(nodes) for v in node.inputs if v is not None}
    finished: list[list[str]] = [[] for _ in nodes]
    for name, at in last.items():
        if name and name not in wanted:
            finished[at].append(name)
    return list(zip(nodes, finished, strict=True))
