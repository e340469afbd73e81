"""A quantized network as units: what a device without float computes in one go."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import onnx_ir as ir

from fewbits.errors import ModelError
from fewbits.graph import (
    Layer,
    constant,
    fused_activation,
    fused_bound,
    layers,
    only_moves,
)
from fewbits.integer.chains import Chain, chain_behind
from fewbits.integer.resizing import resizing
from fewbits.model import Encoding, Model

Kind = Literal[
    "layer", "move", "sum", "product", "matmul", "average", "concat", "softmax", "resize", "table"
]

_KINDS: Mapping[str, Kind] = {
    "Add": "sum",
    "Sub": "sum",
    "Mul": "product",
    "MatMul": "matmul",
    "AveragePool": "average",
    "GlobalAveragePool": "average",
    "ReduceMean": "average",
    "Concat": "concat",
    "Softmax": "softmax",
    "Resize": "resize",
}
_OF_SEVERAL = ("sum", "product", "matmul")


@dataclass(frozen=True)
class Unit:
    """One op with what is fused behind it, all its data in integers.

    Args:
        kind: which rule it follows.
        node: the op; of a table, the end of its chain.
        output: what it writes, behind the fused activation.
        sources: the integer tensors that it reads.
        layer: of a layer.
        activation: a Relu or Clip fused behind it.
        bound: a Min fused behind that.
        chain: of a table.
    """

    kind: Kind
    node: ir.Node
    output: ir.Value
    sources: tuple[ir.Value, ...]
    layer: Layer | None = None
    activation: ir.Node | None = None
    bound: ir.Node | None = None
    chain: Chain | None = None

    @property
    def nodes(self) -> set[ir.Node]:
        """All the nodes that it stands for."""
        fused = {n for n in (self.activation, self.bound) if n is not None}
        return {self.node} | fused | set(self.chain.nodes if self.chain is not None else ())

    @property
    def name(self) -> str:
        """The node's name."""
        return str(self.node.name)


def integer_layers(model: Model) -> Iterator[Layer]:
    """Yield the layers whose input and weight are integers, with what is fused behind each."""
    held = model.encodings
    for layer in layers(model.graph):
        if layer.input.name not in held or layer.weight.name not in held:
            continue
        plain = replace(layer, activation=None, bound=None)
        ends = (plain, replace(layer, bound=None), layer)
        yield next((end for end in ends if end.output.name in held), plain)


def units(model: Model) -> list[Unit]:
    """Return the units of a quantized network in order.

    Raises:
        ModelError: an op has no rule in integers; names it.
    """
    found, missing = parted(model)
    for node in missing:
        raise ModelError(
            f"{node.op_type} '{node.name}' has no rule in integers.",
            hint="Cut the network off before it with --end-node-names.",
        )
    return found


def parted(model: Model) -> tuple[list[Unit], list[ir.Node]]:
    """Return the units of a quantized network, and the nodes that have no rule in integers."""
    held, own = model.encodings, {layer.node: layer for layer in integer_layers(model)}
    found: list[Unit] = []
    done: set[ir.Node] = set()
    for node in model.graph:
        unit = None if node in done else _unit(node, held, own)
        if unit is not None:
            found.append(unit)
            done |= unit.nodes
    return found, [node for node in _needed(model.graph) if node not in done]


def _needed(graph: ir.Graph) -> list[ir.Node]:
    """Return the nodes that the outputs depend on and whose inputs vary, in order."""
    found: set[ir.Node] = set()
    pending = [value.producer() for value in graph.outputs]
    while pending:
        node = pending.pop()
        if node is not None and node not in found:
            found.add(node)
            pending += [v.producer() for v in node.inputs if v is not None]
    return [
        node
        for node in graph
        if node in found and any(v is not None and constant(v) is None for v in node.inputs)
    ]


def _unit(node: ir.Node, held: Mapping[str, Encoding], own: Mapping[ir.Node, Layer]) -> Unit | None:
    """Return the unit that begins at a node, or of which it is the end (a table)."""
    if node in own:
        layer = own[node]
        place = (layer.input,)
        return Unit("layer", node, layer.output, place, layer, layer.activation, layer.bound)
    if not node.outputs:
        return None
    sources = tuple(v for v in node.inputs if v is not None and v.name in held)
    if sources and _moves(node, held):
        return Unit("move", node, node.outputs[0], sources[:1])
    return _op(node, sources, held) or _table(node, held)


def _moves(node: ir.Node, held: Mapping[str, Encoding]) -> bool:
    if not only_moves(node):
        return False
    names = [str(v.name) for v in (node.inputs[0], *node.outputs) if v is not None and v.name]
    first = held.get(names[0])
    if node.op_type == "Resize" and resizing(node) is None:
        return False
    return first is not None and all(n in held and held[n].equals(first) for n in names[1:])


def _op(node: ir.Node, sources: tuple[ir.Value, ...], held: Mapping[str, Encoding]) -> Unit | None:
    """Return the unit of an op with a rule of its own, whose data are all integers."""
    kind = _KINDS.get(node.op_type)
    if kind is None or not sources:
        return None
    data = node.inputs if kind in (*_OF_SEVERAL, "concat") else node.inputs[:1]
    if any(v is not None and v.name not in held for v in data):
        return None
    if kind == "resize" and ((how := resizing(node)) is None or not how.exact):
        return None
    if kind in _OF_SEVERAL and len(set(sources)) < len(node.inputs):
        return None
    activation, bound, output = _fused(node, held)
    if output is None:
        return None
    return Unit(kind, node, output, sources, activation=activation, bound=bound)


def _fused(
    node: ir.Node, held: Mapping[str, Encoding]
) -> tuple[ir.Node | None, ir.Node | None, ir.Value | None]:
    """Return the activation and the bound behind a node, and the encoded tensor at the end."""
    output = node.outputs[0]
    activation = bound = None
    if output.name not in held:
        activation = fused_activation(node)
        output = activation.outputs[0] if activation is not None else output
    if output.name not in held:
        bound = fused_bound(activation or node)
        output = bound.outputs[0] if bound is not None else output
    return activation, bound, output if output.name in held else None


def _table(node: ir.Node, held: Mapping[str, Encoding]) -> Unit | None:
    if len(node.outputs) != 1 or node.outputs[0].name not in held:
        return None
    chain = chain_behind(node.outputs[0], frozenset(held) - {str(node.outputs[0].name)})
    if chain is None:
        return None
    return Unit("table", node, node.outputs[0], (chain.root,), chain=chain)
