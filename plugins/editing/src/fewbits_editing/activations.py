"""Activations at outputs: which one stands there, and the nodes of another."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from fewbits.graph import add_constant, clip_bounds, free_name, int_attribute

#: activation → op and attributes, for those that are one op of one input.
OPS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "relu": ("Relu", {}),
    "elu": ("Elu", {}),
    "sigmoid": ("Sigmoid", {}),
    "hardsigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "tanh": ("Tanh", {}),
    "softplus": ("Softplus", {}),
    "hardswish": ("HardSwish", {}),
    "gelu": ("Gelu", {}),
    "mish": ("Mish", {}),
}
#: ops that are taken off an output, whatever their attributes.
_REMOVABLE = frozenset({*(op for op, _ in OPS.values()), "LeakyRelu", "Softmax", "Clip"})


@dataclass(frozen=True)
class Standing:
    """The activation that an output ends in.

    Args:
        name: as the options have it; `clip` for bounds that have no name; `linear` for none.
        source: what it reads; the output itself where there is none.
        nodes: its nodes, the last one first.
    """

    name: str
    source: ir.Value
    nodes: tuple[ir.Node, ...] = ()


def standing(output: ir.Value) -> Standing:
    """Return the activation that writes an output."""
    node = output.producer()
    if node is None or node.domain not in ("", "ai.onnx"):
        return Standing("linear", output)
    if node.op_type == "Mul":
        return _silu(node, output)
    source = node.inputs[0] if node.inputs else None
    if node.op_type not in _REMOVABLE or source is None:
        return Standing("linear", output)
    if node.op_type == "Clip" and clip_bounds(node) is None:
        return Standing("linear", output)
    return Standing(_name(node), source, (node,))


def _silu(node: ir.Node, output: ir.Value) -> Standing:
    """Tell `x · Sigmoid(x)` from any other product."""
    for x, gate in (node.inputs[:2], node.inputs[1::-1]):
        producer = None if gate is None else gate.producer()
        if x is None or producer is None or producer.op_type != "Sigmoid":
            continue
        if producer.inputs[0] is x:
            return Standing("silu", x, (node, producer))
    return Standing("linear", output)


def _name(node: ir.Node) -> str:
    if node.op_type == "Clip":
        bounds = clip_bounds(node)
        return {(0.0, 6.0): "relu6", (0.0, np.inf): "relu"}.get(bounds or (0.0, 0.0), "clip")
    if node.op_type in ("LeakyRelu", "Softmax"):
        return "leaky" if node.op_type == "LeakyRelu" else "softmax"
    return next(name for name, (op, _) in OPS.items() if op == node.op_type)


def same(there: Standing, wanted: str, *, axis: int, alpha: float) -> bool:
    """Whether an output ends in the activation that is wanted, attributes included."""
    if there.name != wanted or wanted in ("linear", "silu", "relu", "relu6"):
        return there.name == wanted
    (node,) = there.nodes
    if wanted == "softmax":
        rank = len(there.source.shape or ())
        return int_attribute(node, "axis", -1) % max(rank, 1) == axis % max(rank, 1)
    asked = {"alpha": alpha} if wanted == "leaky" else OPS[wanted][1]
    held = {name: a.as_float() for name, a in node.attributes.items() if name in ("alpha", "beta")}
    defaults = {"leaky": {"alpha": 0.01}, "hardsigmoid": {"alpha": 0.2, "beta": 0.5}}
    whole = {**defaults.get(wanted, {"alpha": 1.0} if wanted == "elu" else {}), **held}
    expected = {**({"alpha": 1.0} if wanted == "elu" else {}), **asked}
    return all(np.isclose(whole[name], value) for name, value in expected.items())


def written(
    graph: ir.Graph, source: ir.Value, wanted: str, name: str, *, axis: int, alpha: float
) -> list[ir.Node]:
    """Return the nodes of an activation, in order; the last one's output has no name yet.

    Args:
        graph: gets the constants.
        source: what they read.
        wanted: the activation, any but linear.
        name: of the last node.
        axis: of softmax.
        alpha: of leaky.
    """
    if wanted == "silu":
        gate = ir.node("Sigmoid", [source], name=f"{name}.gate")
        gate.outputs[0].name = f"{name}.gate_out"
        gate.outputs[0].shape, gate.outputs[0].type = source.shape, source.type
        return [gate, ir.node("Mul", [source, gate.outputs[0]], name=name)]
    if wanted == "relu6":
        ends = [
            add_constant(graph, free_name(graph, f"{name}.{end}"), np.array(end, np.float32))
            for end in (0, 6)
        ]
        return [ir.node("Clip", [source, *ends], name=name)]
    if wanted == "softmax":
        return [ir.node("Softmax", [source], attributes={"axis": axis}, name=name)]
    if wanted == "leaky":
        return [ir.node("LeakyRelu", [source], attributes={"alpha": alpha}, name=name)]
    op, attributes = OPS[wanted]
    return [ir.node(op, [source], attributes=dict(attributes), name=name)]
