"""Precision modes and ranges of single layers, as options name them."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

import onnx_ir as ir

from fewbits.errors import RecipeError, TargetError, nearest
from fewbits.interfaces import Context
from fewbits.model import Precision
from fewbits.placement import Placement, resolve, unary_roots

Range = tuple[float, float]


def node_modes(
    graph: ir.Graph, precision: str, layers: Mapping[str, str], context: Context, step: str
) -> dict[str, Precision]:
    """Return the precision mode of every node by name; the last matching glob holds.

    Args:
        graph: the network.
        precision: the mode of nodes that nothing matches.
        layers: name or glob → mode; names of the network's inputs and outputs are left out.
        context: gives the target.
        step: who asks, for messages.

    Raises:
        RecipeError: a glob matches no layer.
        TargetError: the target lacks a mode.
    """
    names = [str(node.name) for node in graph]
    ports = _ports(graph)
    modes = dict.fromkeys(names, Precision.parse(precision))
    for glob, text in layers.items():
        found = _matching(glob, names, ports, step)
        modes |= dict.fromkeys(found, Precision.parse(text))
    for mode in sorted({*modes.values(), *map(Precision.parse, layers.values())}, key=str):
        need_mode(mode, context)
    return modes


def port_modes(
    graph: ir.Graph, layers: Mapping[str, str], placement: Placement
) -> dict[str, Precision]:
    """Return tensor → mode where an input or output of the network is named itself.

    Its bits are those of the tensor whose encoding it has; they win over those of the node.
    """
    ports = _ports(graph)
    named = {name: Precision.parse(text) for name, text in layers.items() if name in ports}
    origins = resolve(named, placement.inherited)
    return {origins[name]: mode for name, mode in named.items()}


def forced_ranges(
    graph: ir.Graph,
    ranges: Mapping[str, Range],
    placement: Placement,
    context: Context,
    step: str,
) -> dict[str, Range]:
    """Return tensor → range for every tensor whose range is given; the last matching glob holds.

    A layer stands for what it writes, its activation included.

    Args:
        graph: the network.
        ranges: node, input, output or glob of nodes → lowest and highest value.
        placement: which tensors are integers.
        context: gives the target.
        step: who asks, for messages.

    Raises:
        RecipeError: a glob matches nothing, or what it names has no range of its own.
    """
    ports = _ports(graph)
    written = _written(graph, placement, context.target.spec.unary_ops)
    origins = resolve([*ports, *placement.own], placement.inherited)
    names = [str(node.name) for node in graph]
    found: dict[str, Range] = {}
    for glob, bounds in ranges.items():
        matched = _matching(glob, names, ports, step)
        tensors = {written[name] for name in matched if name in written}
        if glob in ports and origins[glob] in placement.own:
            tensors.add(origins[glob])
        if not tensors:
            raise RecipeError(
                f"step '{step}': '{glob}' has no range of its own on target {context.target.name}.",
                hint="Name the layer that computes the values, or an input of the network.",
            )
        found |= dict.fromkeys(tensors, (float(bounds[0]), float(bounds[1])))
    return found


def need_mode(mode: Precision, context: Context) -> Precision:
    """Return a precision mode that the target runs.

    Raises:
        TargetError: it does not.
    """
    if mode not in context.target.spec.precisions:
        allowed = ", ".join(sorted(str(p) for p in context.target.spec.precisions))
        raise TargetError(
            f"Target {context.target.name} does not run precision mode {mode}.",
            hint=f"It runs {allowed}.",
        )
    return mode


def _ports(graph: ir.Graph) -> frozenset[str]:
    return frozenset(str(value.name) for value in (*graph.inputs, *graph.outputs))


def _matching(glob: str, names: list[str], ports: frozenset[str], step: str) -> list[str]:
    found = [name for name in names if name == glob or fnmatchcase(name, glob)]
    if not found and glob not in ports:
        known = [*names, *ports]
        raise RecipeError(f"step '{step}': no layer matches '{glob}'.", hint=nearest(glob, known))
    return found


def _written(graph: ir.Graph, placement: Placement, unary_ops: frozenset[str]) -> dict[str, str]:
    """Return node → the tensor with a range of its own that its layer writes or passes on.

    A function that is computed by table belongs to the layer whose output nothing else reads.
    """
    roots = unary_roots(graph, unary_ops)
    producers = {str(value.name): node for node in graph for value in node.outputs}
    ends: dict[ir.Value, list[str]] = {}
    for value, root in roots.items():
        if value.name in placement.own and placement.own[str(value.name)] is value.producer():
            ends.setdefault(root, []).append(str(value.name))
    written = {str(n.name): t for t, n in placement.own.items() if n is not None}
    for name, origin in resolve(placement.inherited, placement.inherited).items():
        written.setdefault(str(producers[name].name), origin)
    for value, found in ends.items():
        producer = value.producer()
        if producer is None or len(found) != 1 or value.is_graph_output():
            continue
        if all(roots.get(reader.outputs[0]) is value for reader in value.consumers()):
            written[str(producer.name)] = found[0]
    return written
