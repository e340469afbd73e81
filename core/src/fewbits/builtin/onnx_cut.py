"""Cut a graph: make chosen tensors its inputs and outputs."""

from collections.abc import Sequence

import onnx_ir as ir
import onnx_ir.passes.common as common

from fewbits.errors import ModelError, nearest


def cut_end(network: ir.Model, names: Sequence[str]) -> None:
    """Make the outputs of the named nodes, or the named tensors, the outputs, in that order.

    Raises:
        ModelError: no node or tensor has that name.
    """
    if not names:
        return
    ends = [value for name in names for value in _made_by(network.graph, name)]
    network.graph.outputs.clear()
    network.graph.outputs.extend(dict.fromkeys(ends))


def cut_start(network: ir.Model, names: Sequence[str]) -> None:
    """Make the inputs of the named nodes, or the named tensors, inputs of the graph.

    Raises:
        ModelError: no node or tensor has that name, nothing computed goes into it, or no output
            depends on it.
    """
    if not names:
        return
    starts = [value for name in names for value in _taken_by(network.graph, name)]
    entries = [_as_input(network.graph, value) for value in dict.fromkeys(starts)]
    prune(network)
    for entry in entries:
        if not entry.uses():
            raise ModelError(
                f"--start-node-names: no output of the network depends on tensor '{entry.name}'.",
                hint="Let --start-node-names begin before --end-node-names, or leave one out.",
            )
    drop_idle_inputs(network)


def prune(network: ir.Model) -> None:
    """Remove the nodes and initializers on which no output depends."""
    common.RemoveUnusedNodesPass()(network)


def _find(graph: ir.Graph, name: str, option: str) -> ir.Node | ir.Value:
    nodes = {node.name: node for node in graph if node.name}
    if name in nodes:
        return nodes[name]
    values = ir.convenience.create_value_mapping(graph, include_subgraphs=False)
    if name in values:
        return values[name]
    raise ModelError(f"{option}: there is no node or tensor '{name}'.", hint=nearest(name, nodes))


def _made_by(graph: ir.Graph, name: str) -> list[ir.Value]:
    found = _find(graph, name, "--end-node-names")
    if isinstance(found, ir.Value):
        return [found]
    return [v for i, v in enumerate(found.outputs) if v.name and (i == 0 or v.uses())]


def _taken_by(graph: ir.Graph, name: str) -> list[ir.Value]:
    found = _find(graph, name, "--start-node-names")
    if isinstance(found, ir.Value):
        return [found]
    computed = [v for v in found.inputs if v is not None and not v.is_initializer()]
    if not computed:
        raise ModelError(
            f"--start-node-names: only constants go into node '{name}'.",
            hint="Name a node that takes in an activation.",
        )
    return computed


def _as_input(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """Return the graph input that takes the place of `value`."""
    if value.is_graph_input():
        return value
    if value.is_graph_output():
        raise ModelError(
            f"Tensor '{value.name}' would be input and output of the network at once.",
            hint="Let --start-node-names begin before --end-node-names, or leave one out.",
        )
    entry = ir.Value(name=value.name, shape=value.shape, type=value.type)
    value.replace_all_uses_with(entry)
    value.name = f"{value.name}_before_start"
    graph.inputs.append(entry)
    return entry


def drop_idle_inputs(network: ir.Model) -> None:
    """Remove the inputs on which nothing depends any more."""
    inputs = network.graph.inputs
    busy = [value for value in inputs if value.uses() or value.is_graph_output()]
    inputs.clear()
    inputs.extend(busy)
