"""Which tensors of a graph get an encoding, for a target's limits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from fewbits.graph import (
    constant,
    fused_activation,
    fused_bound,
    is_layer,
    only_moves,
    readers,
)
from fewbits.interfaces import TargetSpec


@dataclass
class Placement:
    """The outcome of `place`.

    Args:
        own: tensors that need a range of their own, in graph order, with the node that decides
            their bits (None for a graph input or a constant operand).
        inherited: tensors that keep the encoding of another one.
        float_nodes: nodes that run in float.
    """

    own: dict[str, ir.Node | None] = field(default_factory=dict)
    inherited: dict[str, str] = field(default_factory=dict)
    float_nodes: list[ir.Node] = field(default_factory=list)

    def holds(self, value: ir.Value | None) -> bool:
        """Whether a tensor is represented in integers."""
        return value is not None and (value.name in self.own or value.name in self.inherited)


def place(graph: ir.Graph, spec: TargetSpec) -> Placement:
    """Decide which tensors are represented in integers.

    A quantized op reads and writes integers. A pass-through op keeps its input's encoding. A
    chain of element-wise ops that depends on one tensor is a function of one variable, which a
    device computes by table: only what leaves the chain is encoded. Everything else is float.

    Args:
        graph: a graph in topological order, constants as initializers.
        spec: the target's limits.
    """
    placement = Placement()
    roots = unary_roots(graph, spec.unary_ops)
    done: set[ir.Node] = set()
    if not spec.float_ops:  # nothing else encodes an input that a table reads
        for value in {v: None for v in roots.values() if v.is_graph_input()}:
            _need(value, placement, spec, roots)
    for node in graph:
        if node in done:
            continue
        root = roots.get(node.outputs[0])
        if root is None and _passes_through(node, spec):
            if not spec.float_ops and node.inputs[0] is not None:
                _need(node.inputs[0], placement, spec, roots)
            _place_passthrough(node, placement)
        elif root is None and (_is_layer_op(node, spec) or _is_quantized_op(node, spec)):
            done |= _place_quantized(node, spec, placement, roots)
        elif not _by_table(node.outputs[0], placement, roots):
            placement.float_nodes.append(node)
    if not spec.float_ops:
        for value in graph.outputs:
            _need(value, placement, spec, roots)
    return _in_order(graph, placement)


def unary_roots(graph: ir.Graph, unary_ops: frozenset[str]) -> Mapping[ir.Value, ir.Value]:
    """Map each value that is an element-wise function of one other value to that value.

    `x · sigmoid(x)` maps to `x`; so does every value on the way there.
    """
    roots: dict[ir.Value, ir.Value] = {}
    for node in graph:
        if node.op_type not in unary_ops:
            continue
        varying = [v for v in node.inputs if v is not None and constant(v) is None]
        origins = {roots.get(v, v) for v in varying}
        if len(origins) == 1:
            roots[node.outputs[0]] = origins.pop()
    return roots


def _is_layer_op(node: ir.Node, spec: TargetSpec) -> bool:
    return is_layer(node) and node.op_type in spec.weighted_ops


def _is_quantized_op(node: ir.Node, spec: TargetSpec) -> bool:
    if node.op_type not in spec.quantized_ops:
        return False
    data = [v for v in node.inputs if v is not None and constant(v) is None]
    return bool(data) and all(v.dtype in (None, ir.DataType.FLOAT) for v in data)


def _place_quantized(
    node: ir.Node, spec: TargetSpec, placement: Placement, roots: Mapping[ir.Value, ir.Value]
) -> set[ir.Node]:
    """Encode what a quantized op reads and writes; return the nodes this has dealt with."""
    for value in node.inputs[:1] if is_layer(node) or node.op_type == "Resize" else node.inputs:
        if value is not None and value.dtype in (None, ir.DataType.FLOAT):
            _need(value, placement, spec, roots)
    chain = [node]
    for fused in (fused_activation, fused_bound):
        behind = fused(chain[-1], spec.fused_activations)
        chain += [behind] if behind else []
    if len(chain) > 1 or not _leaves_in_float(node, spec):
        placement.own[str(chain[-1].outputs[0].name)] = node
    return set(chain)


def _leaves_in_float(node: ir.Node, spec: TargetSpec) -> bool:
    output = node.outputs[0]
    return node.op_type in spec.float_outputs and output.is_graph_output() and not readers(output)


def _passes_through(node: ir.Node, spec: TargetSpec) -> bool:
    """Whether a node moves integers; a quantized op may do so too, as Resize to the nearest."""
    return node.op_type in spec.passthrough_ops | spec.quantized_ops and only_moves(node)


def _place_passthrough(node: ir.Node, placement: Placement) -> None:
    source = node.inputs[0]
    if source is None or not placement.holds(source):
        placement.float_nodes.append(node)
        return
    for output in node.outputs:
        if output.name and output.dtype in (None, ir.DataType.FLOAT):  # not MaxPool's indices
            placement.inherited[str(output.name)] = str(source.name)


def _need(
    value: ir.Value,
    placement: Placement,
    spec: TargetSpec,
    roots: Mapping[ir.Value, ir.Value],
) -> None:
    """Make sure that a value which a quantized op reads is encoded.

    If pass-through ops bring it from the end of a table, it is encoded there, before them.
    """
    if placement.holds(value) or value.dtype not in (None, ir.DataType.FLOAT):
        return
    moved, origin = _moved_by(value, placement, spec)
    if moved and _by_table(origin, placement, roots):
        placement.own[str(origin.name)] = origin.producer()
        for node in moved:
            placement.float_nodes.remove(node)
            _place_passthrough(node, placement)
    else:
        placement.own[str(value.name)] = value.producer()


def _by_table(value: ir.Value, placement: Placement, roots: Mapping[ir.Value, ir.Value]) -> bool:
    """Whether element-wise ops compute a value from one tensor that is represented in integers.

    That tensor may lie behind the chain's root: a layer's Relu or Clip is fused to the layer.
    """
    pending, done = [value], {value}
    while pending:
        producer = pending.pop().producer()
        if producer is None or producer.outputs[0] not in roots:
            return False
        varying = {v for v in producer.inputs if v is not None and constant(v) is None}
        more = {v for v in varying - done if not placement.holds(v)}
        pending += more
        done |= more
    return True


def _moved_by(
    value: ir.Value, placement: Placement, spec: TargetSpec
) -> tuple[list[ir.Node], ir.Value]:
    """Return the pass-through ops, taken for float so far, behind a value, and where they begin."""
    moved: list[ir.Node] = []
    producer = value.producer()
    while producer in placement.float_nodes and _passes_through(producer, spec):
        source = producer.inputs[0]
        if source is None:
            break
        moved.insert(0, producer)
        value, producer = source, source.producer()
    return moved, value


def _in_order(graph: ir.Graph, placement: Placement) -> Placement:
    names = [str(v.name) for v in graph.inputs]
    names += [str(v.name) for v in graph.initializers.values()]
    names += [str(v.name) for node in graph for v in node.outputs]
    own = {name: placement.own[name] for name in names if name in placement.own}
    return Placement(own, placement.inherited, placement.float_nodes)


def resolve(names: Iterable[str], inherited: Mapping[str, str]) -> dict[str, str]:
    """Follow inheritance to the tensor whose range decides, for each name."""
    found: dict[str, str] = {}
    for name in names:
        origin = name
        while origin in inherited:
            origin = inherited[origin]
        found[name] = origin
    return found
