"""Outputs that get another ending; they keep their names."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import onnx_ir as ir
from fewbits.errors import RecipeError, nearest

from fewbits_editing.activations import Standing, standing


def chosen(graph: ir.Graph, globs: Sequence[str], step: str) -> list[int]:
    """Return the places of the outputs that are meant.

    Args:
        graph: whose outputs.
        globs: names or globs of outputs, of the nodes that write them, or of the nodes before
            their activations; none for all.
        step: who asks, for messages.

    Raises:
        RecipeError: one matches no output.
    """
    names = [_names(value) for value in graph.outputs]
    if not globs:
        return list(range(len(names)))
    found: set[int] = set()
    for glob in globs:
        hits = {
            place
            for place, each in enumerate(names)
            if any(name == glob or fnmatchcase(name, glob) for name in each)
        }
        if not hits:
            known = [name for each in names for name in each]
            raise RecipeError(
                f"step '{step}': no output, and no layer before one, matches '{glob}'.",
                hint=nearest(glob, known),
            )
        found |= hits
    return sorted(found)


def _names(value: ir.Value) -> list[str]:
    there = standing(value)
    nodes = [value.producer(), there.source.producer()]
    return [str(value.name), *(str(node.name) for node in nodes if node is not None)]


def free_node_name(graph: ir.Graph, name: str) -> str:
    """Return `name`, with a number behind it if a node or a value has it already."""
    taken = {str(node.name) for node in graph} | {str(v.name) for n in graph for v in n.outputs}
    found, number = name, 1
    while found in taken:
        found, number = f"{name}.{number}", number + 1
    return found


def end_in(graph: ir.Graph, place: int, there: Standing, nodes: Sequence[ir.Node]) -> ir.Value:
    """Let an output come from other nodes, or from what its activation reads; in place.

    What else reads the output or its activation goes on reading what it did.

    Args:
        graph: the graph.
        place: which output.
        there: the activation that it ends in.
        nodes: what comes in its place, reading `there.source`; none to end there.

    Returns:
        The new output, which has the old one's name.
    """
    old, source = graph.outputs[place], there.source
    name = str(old.name)
    if not nodes and _must_stay(graph, source):
        nodes = [ir.node("Identity", [source], name=free_node_name(graph, f"{name}.linear"))]
    new = nodes[-1].outputs[0] if nodes else source
    if nodes:
        graph.extend(nodes)
        new.shape, new.type = source.shape, source.type
    graph.outputs[place] = new
    old.name = free_node_name(graph, f"{name}.before")
    new.name = name
    if there.nodes and not old.uses() and not old.is_graph_output():
        _remove(graph, there.nodes)
    return new


def _must_stay(graph: ir.Graph, value: ir.Value) -> bool:
    """Whether a value cannot take an output's name: it is an input, a constant or an output."""
    return value.producer() is None or value.is_graph_output() or value in graph.inputs


def _remove(graph: ir.Graph, nodes: Sequence[ir.Node]) -> None:
    """Remove an activation's nodes, the last one first, as far as nothing reads them."""
    for node in nodes:
        if not any(v.uses() or v.is_graph_output() for v in node.outputs):
            graph.remove(node, safe=True)
