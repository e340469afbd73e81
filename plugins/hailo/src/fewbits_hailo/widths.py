"""How 16 bits spread: what a device cannot give one width without giving it to its neighbours.

Concat and splitter cannot change width (second-hand), nor can a shortcut, which is one tensor
here. That the two sides of an element-wise op must be equally wide is inferred.
"""

from collections.abc import Iterator, Mapping

import onnx_ir as ir
from fewbits.errors import TargetError
from fewbits.graph import constant
from fewbits.interfaces import TargetSpec
from fewbits.model import Model, Precision
from fewbits.placement import Placement, place, resolve

from fewbits_hailo.devices import Device

_PAIRS = ("Add", "Sub", "Mul")


def bound_tensors(graph: ir.Graph, placement: Placement) -> Iterator[tuple[ir.Node, list[str]]]:
    """Yield the nodes that cannot change width, with the tensors that must be equally wide.

    Args:
        graph: the network.
        placement: which tensors are integers.
    """
    for node in graph:
        inputs = [v for v in node.inputs if v is not None and placement.holds(v)]
        if node.op_type == "Concat" and inputs:
            yield node, [str(v.name) for v in (*inputs, *node.outputs)]
        elif node.op_type in _PAIRS and len({v.name for v in inputs}) == 2:
            yield node, [str(v.name) for v in inputs]


def matrix_products(graph: ir.Graph) -> Iterator[ir.Node]:
    """Yield the products of two computed matrices."""
    for node in graph:
        if node.op_type == "MatMul" and all(constant(v) is None for v in node.inputs):
            yield node


def spread(
    model: Model, modes: Mapping[str, Precision], spec: TargetSpec, device: Device
) -> dict[str, Precision]:
    """Return the modes with 16 bits given to everything that they bind.

    Args:
        model: the network, in float.
        modes: node name → precision mode.
        spec: the device's limits.
        device: its row.

    Raises:
        TargetError: 16 bits reach an input of a matrix product that takes 8 only.
    """
    placement = place(model.graph, spec)
    groups = _groups(model.graph, placement)
    found = dict(modes)
    for group in groups:
        nodes = [str(n.name) for t in group if (n := placement.own.get(t)) is not None]
        if any(found[name].activation_bits == 16 for name in nodes if name in found):
            found |= {name: _widened(found[name]) for name in nodes if name in found}
    if not device.wide_products.value:
        _refuse_wide_products(model.graph, placement, found, device)
    return found


def _widened(mode: Precision) -> Precision:
    if mode.activation_bits == 16:
        return mode
    return Precision(16, max(mode.weight_bits, 8))


def _groups(graph: ir.Graph, placement: Placement) -> list[set[str]]:
    """Return the sets of tensors with ranges of their own that must be equally wide."""
    groups: list[set[str]] = []
    for _, names in bound_tensors(graph, placement):
        joined = set(resolve(names, placement.inherited).values())
        apart = [group for group in groups if not group & joined]
        groups = [*apart, joined.union(*(group for group in groups if group & joined))]
    return groups


def _refuse_wide_products(
    graph: ir.Graph, placement: Placement, modes: Mapping[str, Precision], device: Device
) -> None:
    for node in matrix_products(graph):
        names = [str(v.name) for v in node.inputs if v is not None]
        for origin in resolve(names, placement.inherited).values():
            writer = placement.own.get(origin)
            mode = None if writer is None else modes.get(str(writer.name))
            if writer is not None and mode is not None and mode.activation_bits == 16:
                raise TargetError(
                    f"{device.title} multiplies matrices of 8 bits only: '{node.name}' reads 16 "
                    f"bits from '{writer.name}'.",
                    hint=f"Give '{writer.name}' the precision mode a8_w8, e.g. "
                    f"-p 'quantize:layers.{writer.name}=a8_w8'.",
                )
