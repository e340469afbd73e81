"""Cuts a graph into runs of nodes between tensors that are stored, so that each node runs once."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

_COUNTED = frozenset({ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL})


@dataclass(frozen=True)
class Segment:
    """What one step of a walk computes.

    Args:
        reads: stored values, or graph inputs, that it begins from.
        writes: values that it leaves behind: those asked for now or later, and those that a later
            segment begins from.
        passes: graph inputs that are to be stored as they are.
    """

    reads: tuple[ir.Value, ...]
    writes: tuple[ir.Value, ...]
    passes: tuple[ir.Value, ...] = ()

    def network(self, source: ir.Model) -> ir.Model:
        """Return the segment as a network of its own, with the constants as they stand now."""
        graph = ir.convenience.extract(source.graph, self.reads, self.writes)
        return ir.Model(graph, ir_version=source.ir_version)


def segments(graph: ir.Graph, wanted: Sequence[Sequence[ir.Value]]) -> list[Segment]:
    """Return one segment for each group of wanted values, to be run in this order.

    A segment holds the nodes that its values depend on and that no segment before it holds.
    Dequantization and what computes with shapes and indices is the exception: it runs wherever it
    is read, so that stored values are integers where there are any, and have a batch axis.

    Args:
        graph: in topological order.
        wanted: values by step. Graph inputs are at hand in the first step only, so that what later
            steps read of them is among its `passes`.
    """
    order = {node: place for place, node in enumerate(graph)}
    done: set[ir.Node] = set()
    held: list[list[ir.Node]] = []
    for values in wanted:
        nodes = sorted(_needed(values, done), key=order.__getitem__)
        done.update(node for node in nodes if not runs_anywhere(node))
        held.append(nodes)
    reads = [_reads(nodes) for nodes in held]
    return [
        Segment(reads[i], _writes(held[i], wanted[i], reads[i + 1 :], wanted[i + 1 :]), passes)
        for i, passes in enumerate(_passes(reads, wanted))
    ]


def runs_anywhere(node: ir.Node) -> bool:
    """Whether a node is run again wherever it is read instead of its outputs being stored."""
    if node.op_type == "DequantizeLinear":
        return True
    return all(output.dtype in _COUNTED for output in node.outputs)


def _needed(values: Iterable[ir.Value], done: set[ir.Node]) -> set[ir.Node]:
    """Return the nodes that values depend on, back to what is stored."""
    found: set[ir.Node] = set()
    pending = list(values)
    while pending:
        producer = pending.pop().producer()
        if producer is None or producer in found or producer in done:
            continue
        found.add(producer)
        pending.extend(_inputs(producer))
    return found


def _inputs(node: ir.Node) -> Iterator[ir.Value]:
    """Yield the computed values that a node reads, those its subgraphs capture among them."""
    read = list(node.inputs)
    for attribute in node.attributes.values():
        if attribute.type is ir.AttributeType.GRAPH:
            read += [v for each in attribute.as_graph().all_nodes() for v in each.inputs]
    yield from (v for v in read if v is not None and v.const_value is None and _outer(v, node))


def _outer(value: ir.Value, node: ir.Node) -> bool:
    """Whether a value belongs to the graph that a node stands in, not to one inside the node."""
    return value.graph is node.graph


def _reads(nodes: Sequence[ir.Node]) -> tuple[ir.Value, ...]:
    made = {output for node in nodes for output in node.outputs}
    read = [v for node in nodes for v in _inputs(node)]
    return tuple(dict.fromkeys(v for v in read if v not in made))


def _writes(
    nodes: Sequence[ir.Node],
    wanted: Sequence[ir.Value],
    reads: Sequence[Sequence[ir.Value]],
    later: Sequence[Sequence[ir.Value]],
) -> tuple[ir.Value, ...]:
    """Return what a segment leaves behind; what runs anywhere only if it is wanted right now."""
    now, asked = set(wanted), {v for values in (*reads, *later) for v in values}
    return tuple(
        v
        for node in nodes
        for v in node.outputs
        if v in now or (v in asked and not runs_anywhere(node))
    )


def _passes(
    reads: Sequence[Sequence[ir.Value]], wanted: Sequence[Sequence[ir.Value]]
) -> Iterator[tuple[ir.Value, ...]]:
    """Yield for each step the graph inputs to store: all that any needs, in the first."""
    later = [v for values in (*reads[1:], *wanted) for v in values]
    yield tuple(dict.fromkeys(v for v in later if v.is_graph_input() and v.producer() is None))
    yield from (() for _ in reads[1:])
