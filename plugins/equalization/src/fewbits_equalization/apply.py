"""Applies factors to a graph: weights, biases, and the constants between layers."""

from typing import Any

import numpy as np
import onnx_ir as ir
from fewbits.channels import Channels, Operand, scaled
from fewbits.graph import add_constant, clip_bounds, constant, set_constant
from fewbits.kernels import from_blocks, to_blocks
from numpy.typing import NDArray

from fewbits_equalization.factors import Vector


def rescale(graph: ir.Graph, channels: Channels, factors: Vector) -> None:
    """Multiply every class of channels by its factor, in place.

    Args:
        graph: where `channels` was found.
        channels: from `find_channels`.
        factors: one for each class, `(channels.count,)`; 1 for class 0.
    """
    read = {slot.layer.name: factors[slot.classes] for slot in channels.readers}
    for slot in channels.writers:
        up, down = factors[slot.classes], read[slot.layer.name]
        if (up == 1.0).all() and (down == 1.0).all():
            continue
        weight = np.asarray(constant(slot.layer.weight), np.float32)
        blocks = to_blocks(slot.layer, weight)
        groups, kernel = len(blocks), (1,) * (blocks.ndim - 3)
        change = up.reshape(groups, -1, 1, *kernel) / down.reshape(groups, 1, -1, *kernel)
        set_constant(slot.layer.weight, from_blocks(slot.layer, scaled(blocks, change)))
        if slot.layer.bias is not None:
            bias = np.asarray(constant(slot.layer.bias))
            set_constant(slot.layer.bias, scaled(bias, up.reshape(bias.shape)))
    for operand in channels.operands:
        found = factors[operand.classes]
        if (found != 1.0).any():
            _rescale_operand(graph, operand, found)


def _rescale_operand(graph: ir.Graph, operand: Operand, factors: Vector) -> None:
    node = operand.node
    if operand.index >= 0:
        value = node.inputs[operand.index]
        array = scaled(np.asarray(constant(value)), factors)
        _replace(graph, node, operand.index, array)
    elif (factors == factors.ravel()[0]).all():
        for index, value in enumerate(node.inputs[1:3], start=1):
            if value is not None:
                array = scaled(np.asarray(constant(value)), factors.ravel()[:1].reshape(()))
                _replace(graph, node, index, array)
    else:
        _part_clip(graph, node, factors)


def _replace(graph: ir.Graph, node: ir.Node, index: int, array: NDArray[Any]) -> None:
    """Give a node an operand of its own."""
    value = node.inputs[index]
    assert value is not None
    if len(list(value.uses())) == 1:
        set_constant(value, array)
        return
    node.replace_input_with(index, add_constant(graph, f"{value.name}.{node.name}", array))


def _part_clip(graph: ir.Graph, node: ir.Node, factors: Vector) -> None:
    """Write a Clip whose bounds differ by channel as Relu (or Max) and Min.

    The Relu stays next to its layer, and the Min has the Clip's name.
    """
    bounds = clip_bounds(node)
    assert bounds is not None
    low, high = bounds
    source, output = node.inputs[0], node.outputs[0]
    assert source is not None
    steps: list[tuple[str, NDArray[np.float32] | None]] = []
    if low > -np.inf:
        steps.append(("Relu", None) if low == 0.0 else ("Max", scaled(np.array(low), factors)))
    if high < np.inf:
        steps.append(("Min", scaled(np.array(high), factors)))
    for place, (op, bound) in enumerate(steps):
        last = place == len(steps) - 1
        name = str(node.name) if last else f"{node.name}.{op.lower()}"
        inputs = [source]
        if bound is not None:
            inputs.append(add_constant(graph, f"{node.name}.{op.lower()}_bound", bound))
        new = ir.node(op, inputs, name=name)
        graph.insert_before(node, new)
        new.outputs[0].shape, new.outputs[0].type = output.shape, output.type
        new.outputs[0].name = f"{output.name}.{op.lower()}"
        source = new.outputs[0]
    name = str(output.name)
    for use in list(output.uses()):
        use.node.replace_input_with(use.idx, source)
    graph.remove(node, safe=False)
    output.name = None
    source.name = name
