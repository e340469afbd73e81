"""Recognizes the mean over a whole map, however the exporter wrote it."""

from dataclasses import dataclass

import onnx_ir as ir
from fewbits.graph import constant, int_attribute, only_reader


@dataclass(frozen=True)
class Pool:
    """A mean over height and width.

    Args:
        nodes: one node, or two that take the mean over one axis each.
        source: the map, `(N, C, H, W)`, or `(N, H, W, C)` where channels come last.
        output: the means, `(N, C, 1, 1)`, `(N, 1, 1, C)` or `(N, C)`.
        channels_last: whether the channels of the map lie on its last axis, as TensorFlow has them.
    """

    nodes: tuple[ir.Node, ...]
    source: ir.Value
    output: ir.Value
    channels_last: bool = False


def whole_map_pool(node: ir.Node) -> Pool | None:
    """Return the pool that begins at `node`; None if it is not one over a map of four axes."""
    source = node.inputs[0] if node.inputs else None
    if source is None or source.shape is None or len(source.shape) != 4:
        return None
    if node.op_type == "GlobalAveragePool" or _covers_the_map(node, source.shape):
        return Pool((node,), source, node.outputs[0])
    axes = _mean_axes(node, 4)
    if axes == {2, 3}:
        return Pool((node,), source, node.outputs[0])
    if axes == {1, 2}:
        return Pool((node,), source, node.outputs[0], channels_last=True)
    return _in_two_steps(node, source, axes) if axes in ({2}, {3}) else None


def _covers_the_map(node: ir.Node, shape: ir.Shape) -> bool:
    if node.op_type != "AveragePool" or any(_ints(node, "pads")):
        return False
    return _ints(node, "kernel_shape") == list(shape[2:])


def _in_two_steps(first: ir.Node, source: ir.Value, done: set[int]) -> Pool | None:
    """Return `mean(3).mean(2)` or `mean(2).mean(3)` as one pool."""
    second = only_reader(first.outputs[0])
    if second is None:
        return None
    kept = bool(int_attribute(first, "keepdims", 1))
    axes = _mean_axes(second, 4 if kept else 3)
    left = {2, 3} - done if kept else {2}
    return Pool((first, second), source, second.outputs[0]) if axes == left else None


def _mean_axes(node: ir.Node, rank: int) -> set[int]:
    """Return the axes of a ReduceMean, from its attribute or its input; empty if unknown."""
    if node.op_type != "ReduceMean":
        return set()
    given = _ints(node, "axes")
    if len(node.inputs) > 1:
        array = constant(node.inputs[1])
        given = [] if array is None else [int(axis) for axis in array.reshape(-1)]
    return {axis % rank for axis in given}


def _ints(node: ir.Node, name: str) -> list[int]:
    attribute = node.attributes.get(name)
    return [] if attribute is None else list(attribute.as_ints())
