"""What the graph says of each place where noise is measured."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeGuard

import onnx_ir as ir

from fewbits.graph import MOVING_OPS, constant, layers, readers
from fewbits.model import Model
from fewbits.placement import unary_roots

#: ops that are a swish by themselves.
_SWISHES = frozenset({"Gelu", "HardSwish", "Mish", "Swish"})
#: of what gates are made.
_GATES = ("Add", "Clip", "Div", "HardSigmoid", "Min", "Max", "Mul", "Relu", "Sigmoid", "Tanh")
_ELEMENTWISE = _SWISHES.union(_GATES, ("Softplus",))

Roots = Mapping[ir.Value, ir.Value]


def traits(model: Model, writers: Mapping[str, ir.Node | None]) -> dict[str, frozenset[str]]:
    """Return tensor → what its place is.

    `first` and `last`: the first and last layers that are quantized. `depthwise`: a convolution
    with one input channel a group. `swish`: it ends in SiLU, hard-swish, Mish or GELU. `concat`.
    `sigmoid`, `softmax`: one of these reads it. `output`: it leaves the network; `ends`: nothing
    but moved numbers lies between it and an output.

    Args:
        model: at stage `quantized`.
        writers: tensor → the node that writes it, None for a graph input.
    """
    values = {str(v.name): v for node in model.graph for v in node.outputs}
    roots = unary_roots(model.graph, _ELEMENTWISE)
    found = {name: set(_of(values[name], roots, writers)) for name in writers if name in values}
    own = [layer for layer in layers(model.graph) if layer.name in model.precisions]
    for layer in own:
        if _depthwise(layer.node):
            found[str(layer.output.name)].add("depthwise")
    if own:
        found[str(own[0].output.name)].add("first")
        for layer in own:
            if not _reaches(layer.output, {other.node for other in own}):
                found[str(layer.output.name)].add("last")
    return {name: frozenset(each) for name, each in found.items()}


def _of(value: ir.Value, roots: Roots, places: Collection[str]) -> Iterator[str]:
    producer, ends = value.producer(), list(_moved(value))
    if _ends_in_swish(value, roots, places):
        yield "swish"
    if producer is not None and producer.op_type == "Concat":
        yield "concat"
    if value.is_graph_output():
        yield "output"
    if any(end.is_graph_output() for end in ends):
        yield "ends"
    if {"Softmax", "LogSoftmax"} & {node.op_type for end in ends for node in readers(end)}:
        yield "softmax"
    if any(_read_by_sigmoid(end, roots) for end in ends):
        yield "sigmoid"


def _ends_in_swish(value: ir.Value, roots: Roots, places: Collection[str]) -> bool:
    """Whether the element-wise ops behind the place before hold a tensor times a gate of itself."""
    producer = value.producer()
    while producer is not None and producer.outputs[0] in roots:
        varying = list(dict.fromkeys(v for v in producer.inputs if _computed(v)))
        if producer.op_type in _SWISHES or _gated(producer, varying, roots):
            return True
        if len(varying) != 1 or varying[0].name in places:
            return False
        producer = varying[0].producer()
    return False


def _gated(node: ir.Node, varying: Sequence[ir.Value], roots: Roots) -> bool:
    """Whether a node multiplies a tensor with an element-wise function of the same tensor."""
    if node.op_type != "Mul" or len(varying) != 2:
        return False
    first, second = varying
    return roots.get(first) is second or roots.get(second) is first


def _read_by_sigmoid(value: ir.Value, roots: Roots) -> bool:
    """Whether a Sigmoid reads a value, and not to gate that value."""
    sigmoids = [node for node in readers(value) if node.op_type == "Sigmoid"]
    behind = [node for each in sigmoids for node in readers(each.outputs[0])]
    gates = [n for n in behind if _gated(n, [v for v in n.inputs if _computed(v)], roots)]
    return bool(sigmoids) and not gates


def _computed(value: ir.Value | None) -> TypeGuard[ir.Value]:
    return value is not None and constant(value) is None


def _depthwise(node: ir.Node) -> bool:
    shape = node.inputs[1].shape if node.op_type == "Conv" and node.inputs[1] else None
    group = node.attributes.get("group")
    return shape is not None and shape[1] == 1 and group is not None and group.as_int() > 1


def _moved(value: ir.Value) -> Iterator[ir.Value]:
    """Yield a value and those that ops which only move numbers make of it."""
    pending, done = [value], {value}
    while pending:
        each = pending.pop()
        yield each
        for node in readers(each):
            if node.op_type in MOVING_OPS and node.inputs[0] is each:
                new = [v for v in node.outputs if v not in done]
                pending += new
                done.update(new)


def _reaches(value: ir.Value, nodes: Iterable[ir.Node]) -> bool:
    """Whether any of these nodes depends on a value."""
    wanted, pending, done = set(nodes), [value], {value}
    while pending:
        for node in readers(pending.pop()):
            if node in wanted:
                return True
            new = [v for v in node.outputs if v not in done]
            pending += new
            done.update(new)
    return False
