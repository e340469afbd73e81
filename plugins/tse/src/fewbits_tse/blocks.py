"""Finds squeeze-and-excite blocks: a pool, layers behind it, a Mul with the pool's input."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from fewbits.graph import constant, is_layer, readers
from numpy.typing import NDArray

from fewbits_tse.pools import Pool, whole_map_pool

#: Ops that only give the same channels another shape; tiled, they are nothing.
_FORM = "Reshape Flatten Squeeze Unsqueeze Transpose Identity Expand"
FORM_OPS = frozenset(_FORM.split())
LAYER_OPS = frozenset({"Conv", "Gemm", "MatMul"})
_ELEMENTWISE = (
    "Abs Add BatchNormalization Clip Div Elu Erf Exp Gelu HardSigmoid HardSwish LeakyRelu Log Max "
    "Min Mish Mul Neg PRelu Pow Reciprocal Relu Selu Sigmoid Softplus Softsign Sqrt Sub Tanh "
    "ThresholdedRelu"
)
ELEMENTWISE_OPS = frozenset(_ELEMENTWISE.split())


@dataclass(frozen=True)
class Block:
    """A squeeze-and-excite block.

    Args:
        pool: the mean over the map.
        body: the nodes between the pool and the Mul, in graph order.
        gate: what the Mul gets from them.
        mul: the Mul of the map with the gate.
        fault: why it cannot be tiled; empty if it can.
    """

    pool: Pool
    body: tuple[ir.Node, ...]
    gate: ir.Value
    mul: ir.Node
    fault: str = ""

    @property
    def name(self) -> str:
        """The name of its pool, which stays when it is tiled."""
        return str(self.pool.nodes[0].name)

    @property
    def source(self) -> ir.Value:
        """The map that goes in, `(N, C, H, W)`, or `(N, H, W, C)` where channels come last."""
        return self.pool.source

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Channels, height and width of the map."""
        shape = self.source.shape
        assert shape is not None
        first, second, third = (size if isinstance(size, int) else 0 for size in shape[1:])
        return (third, first, second) if self.pool.channels_last else (first, second, third)


def find_blocks(graph: ir.Graph) -> Iterator[Block]:
    """Yield every block of a graph from its input on, those that cannot be tiled included."""
    order = {node: place for place, node in enumerate(graph)}
    for node in graph:
        pool = whole_map_pool(node)
        if pool is not None:
            yield from _blocks_of(pool, order)


def channel_axis(value: ir.Value) -> int | None:
    """Return the only axis behind the batch that may be longer than 1; None if there are more.

    `(N, C)` and `(N, C, 1, 1)` give 1, `(N, 1, 1, C)` gives 3.
    """
    shape = value.shape
    if shape is None or len(shape) < 2 or not all(isinstance(size, int) for size in shape[1:]):
        return None
    long = [axis for axis, size in enumerate(shape) if axis and size != 1]
    return (long or [1])[0] if len(long) <= 1 else None


def per_channel(array: NDArray[np.generic], value: ir.Value) -> NDArray[np.generic] | None:
    """Return a constant that meets `value` as `(1, C, 1, 1)`, or a scalar as it stands.

    None if it has different numbers for anything but the channels.
    """
    if array.size == 1:
        return array.reshape(())
    axis, rank = channel_axis(value), len(value.shape or ())
    aligned = (1,) * (rank - array.ndim) + array.shape
    if axis is None or len(aligned) > rank or array.size != aligned[axis]:
        return None
    return array.reshape(1, -1, 1, 1)


def _blocks_of(pool: Pool, order: dict[ir.Node, int]) -> Iterator[Block]:
    for mul in readers(pool.source):
        if mul.op_type != "Mul" or mul in pool.nodes:
            continue
        for gate in mul.inputs:
            if gate is None or gate is pool.source:
                continue
            body = _between(pool, gate)
            if body:
                nodes = tuple(sorted(body, key=order.__getitem__))
                yield Block(pool, nodes, gate, mul, _fault(pool, nodes, gate, mul))


def _between(pool: Pool, gate: ir.Value) -> set[ir.Node]:
    """Return the nodes that the gate comes from, back to the pool; none if the pool is not met.

    What gives a Reshape or Expand its shape does not belong to them.
    """
    body: set[ir.Node] = set()
    open_values, met = [gate], False
    while open_values:
        value = open_values.pop()
        producer = value.producer()
        met |= value is pool.output
        if value in (pool.output, pool.source) or producer is None or producer in body:
            continue
        body.add(producer)
        data = producer.inputs[:1] if producer.op_type in FORM_OPS else producer.inputs
        open_values += [v for v in data if v is not None and constant(v) is None]
    return body if met else set()


def _fault(pool: Pool, body: tuple[ir.Node, ...], gate: ir.Value, mul: ir.Node) -> str:
    """Return why a block cannot be tiled; empty if it can."""
    if not all(isinstance(size, int) for size in (pool.source.shape or ())[1:]):
        return "the size of its map is not fixed"
    inside = {pool.output, *(node.outputs[0] for node in body)}
    for node in body:
        wrong = _node_fault(node, inside, mul)
        if wrong:
            return f"{node.op_type} {node.name} {wrong}"
    if not any(node.op_type in LAYER_OPS for node in body):
        return "no layer lies between the pool and the product"
    leaks = _leaks([*pool.nodes, *body], {*pool.nodes, *body, mul})
    if leaks:
        return f"{leaks} is used outside of the block too"
    whole = (gate.producer() or mul).op_type == "Expand"
    axis = 3 if pool.channels_last else 1
    if not whole and (len(gate.shape or ()) != 4 or channel_axis(gate) != axis):
        return "its gate is not one factor per channel"
    return ""


def _leaks(nodes: list[ir.Node], allowed: Collection[ir.Node]) -> str:
    for node in nodes:
        for value in node.outputs:
            if value.is_graph_output() or any(r not in allowed for r in readers(value)):
                return str(value.name)
    return ""


def _node_fault(node: ir.Node, inside: Collection[ir.Value], mul: ir.Node) -> str:
    if len(node.outputs) != 1:
        return "has more than one output"
    if node.op_type == "Expand":
        return "" if readers(node.outputs[0]) == [mul] else "is read before the product"
    if channel_axis(node.outputs[0]) is None:
        return "has an output that is not one number per channel"
    if node.op_type in LAYER_OPS:
        return _layer_fault(node, inside)
    if node.op_type in ELEMENTWISE_OPS:
        return _elementwise_fault(node, inside)
    return "" if node.op_type in FORM_OPS else "does not belong in a squeeze-and-excite block"


def _layer_fault(node: ir.Node, inside: Collection[ir.Value]) -> str:
    source, weight = node.inputs[0], node.inputs[1]
    if source is None or weight is None or source not in inside or not is_layer(node):
        return "has a computed weight or bias, or factors"
    axis, last = channel_axis(source), len(source.shape or ()) - 1
    if node.op_type != "Conv":
        return "" if axis == last else "does not work on the channels"
    if any(size != 1 for size in (weight.shape or ())[2:]):
        return "is no 1×1 convolution"
    return "" if axis == 1 else "does not work on the channels"


def _elementwise_fault(node: ir.Node, inside: Collection[ir.Value]) -> str:
    output = node.outputs[0]
    for value in node.inputs:
        if value is None:
            continue
        array = constant(value)
        if array is None and value not in inside:
            return f"reads {value.name}, which comes from elsewhere"
        if array is None and value.shape != output.shape:
            return "combines values of different shapes"
        if array is not None and node.op_type == "BatchNormalization":
            continue
        if array is not None and per_channel(array, output) is None:
            return "has a constant that is not one number per channel"
    if node.op_type == "BatchNormalization" and channel_axis(output) != 1:
        return "does not work on the channels"
    return ""
