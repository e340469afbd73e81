"""Where noise is measured: each input, each layer, each op that writes a grid of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from fewbits.analysis.traits import traits
from fewbits.graph import MOVING_OPS, Layer, constant, layers
from fewbits.model import Model


@dataclass(frozen=True)
class Place:
    """A tensor at which noise is measured, and what writes it.

    Args:
        name: of the node that writes it, or of the graph input.
        op_type: Conv, Add, …; `input` for a graph input.
        tensor: its name.
        precision: a layer's mode, `a8` for another op, `float` for what is not quantized.
        node: the first node that belongs to it; None for a graph input.
        layer: the layer, or None.
        reads: the places' tensors from which it is computed.
        constants: names of its own constants that are on a grid.
        feeds: the nodes right before it.
        traits: what is known of it from the graph: `first`, `last`, `depthwise`, `swish`, ….
    """

    name: str
    op_type: str
    tensor: str
    precision: str
    node: ir.Node | None = None
    layer: Layer | None = None
    reads: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()
    feeds: tuple[str, ...] = ()
    traits: frozenset[str] = frozenset()

    @property
    def axis(self) -> int:
        """Axis of the channels: 1, or -1 for products of matrices, whose channels come last."""
        return -1 if self.op_type == "MatMul" else 1


def places(model: Model) -> list[Place]:
    """Return the places of a quantized model, in graph order.

    Tensors that only move numbers share their input's grid and are left out. An output of the
    graph that is computed in float is a place, too.
    """
    own = {layer.node: layer for layer in layers(model.graph) if layer.name in model.precisions}
    found = list(_inputs(model))
    tensors = {place.tensor for place in found}
    for node in model.graph:
        for place in _written(model, node, own.get(node), tensors):
            found.append(place)
            tensors.add(place.tensor)
    known = traits(model, {place.tensor: place.node for place in found})
    return [replace(each, traits=known.get(each.tensor, each.traits)) for each in found]


def _inputs(model: Model) -> Iterator[Place]:
    for name in model.input_names:
        if name in model.encodings:
            yield Place(name, "input", name, f"a{model.encodings[name].bits}")


def _written(
    model: Model, node: ir.Node, layer: Layer | None, tensors: set[str]
) -> Iterator[Place]:
    """Yield the places that a node writes; a layer writes behind its fused activation."""
    if layer is not None:
        own = [v for v in (layer.weight, layer.bias) if v is not None]
        constants = tuple(str(v.name) for v in own)
        mode = str(model.precisions[layer.name])
        reads = _sources([node], tensors)
        yield Place(
            layer.name,
            node.op_type,
            str(layer.output.name),
            mode,
            node,
            layer,
            reads,
            constants,
            _feeds(node),
        )
        return
    for output in node.outputs:
        name = str(output.name)
        if name in tensors or output.dtype not in (None, ir.DataType.FLOAT):
            continue
        encoding = model.encodings.get(name)
        if encoding is None and not output.is_graph_output():
            continue
        if encoding is not None and node.op_type in MOVING_OPS and _moves_integers(model, node):
            continue
        chain = _behind(model, node)
        first = chain[0]
        inputs = [v for each in chain for v in each.inputs if v is not None]
        held = [str(v.name) for v in inputs if constant(v) is not None]
        constants = tuple(each for each in held if each in model.encodings)
        mode = "float" if encoding is None else f"a{encoding.bits}"
        reads = _sources(chain, tensors)
        feeds = _feeds(first)
        yield Place(
            str(first.name), first.op_type, name, mode, first, None, reads, constants, feeds
        )


def _feeds(node: ir.Node) -> tuple[str, ...]:
    makers = [value.producer() for value in node.inputs if value is not None]
    return tuple(dict.fromkeys(str(maker.name) for maker in makers if maker is not None))


def _moves_integers(model: Model, node: ir.Node) -> bool:
    source = node.inputs[0]
    return source is not None and source.name in model.encodings


def _behind(model: Model, node: ir.Node) -> list[ir.Node]:
    """Return the op whose fused activation a node is, and the node; or the node alone."""
    source = node.inputs[0] if node.inputs else None
    before = None if source is None else source.producer()
    if node.op_type not in ("Relu", "Clip") or before is None or source is None:
        return [node]
    fused = source.name not in model.encodings and before.op_type in ("Add", "Concat", "Mul")
    return [before, node] if fused else [node]


def _sources(nodes: Sequence[ir.Node], tensors: set[str]) -> tuple[str, ...]:
    """Return the tensors among `tensors` that nodes are computed from, the nearest ones."""
    found: dict[str, None] = {}
    pending = [v for node in nodes for v in node.inputs]
    done: set[ir.Value] = set()
    while pending:
        value = pending.pop()
        if value is None or value in done:
            continue
        done.add(value)
        producer = value.producer()
        if value.name in tensors:
            found[str(value.name)] = None
        elif producer is not None:
            pending += producer.inputs
    return tuple(found)
