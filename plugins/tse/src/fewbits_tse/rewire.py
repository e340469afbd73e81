"""Writes the tiled form of a squeeze-and-excite block into its graph.

AveragePool over strips → the block's layers as 1×1 convolutions on `(N, C, tiles, 1)` → its gate →
each tile's weights repeated for the tile's rows → the Mul, which broadcasts over the width. The
repetition is one Gather along the height: nearest upsampling and the crop of a ragged last tile in
one op that only moves values. Where channels come last, one Transpose lies before the pool and one
behind the Gather.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from fewbits.graph import add_constant, constant, int_attribute, only_reader
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from fewbits_tse.blocks import FORM_OPS, LAYER_OPS, Block, per_channel
from fewbits_tse.tiles import tile_count, tile_of_rows

SUFFIX = ".tiled"


@dataclass
class _Tiling:
    """A tiled branch under construction.

    Args:
        graph: the graph it is added to.
        block: the block it stands for.
        tile_height: rows of a tile.
        nodes: its nodes so far.
        values: value of the block → the tiled value in its place.
        weights: new weight → (the weight it is a view of, whether that is transposed).
    """

    graph: ir.Graph
    block: Block
    tile_height: int
    nodes: list[ir.Node] = field(default_factory=list)
    values: dict[ir.Value, ir.Value] = field(default_factory=dict)
    weights: dict[str, "View"] = field(default_factory=dict)


@dataclass(frozen=True)
class View:
    """How a 1×1 convolution's weight came from a layer's: perhaps transposed, then reshaped.

    Args:
        source: name of the layer's weight.
        transposed: whether that has its outputs last.
    """

    source: str
    transposed: bool

    def of(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a weight, or its mask, as `(out, in, 1, 1)`."""
        rows = array.T if self.transposed else array
        return np.ascontiguousarray(rows.reshape(*rows.shape[:2], 1, 1))


@dataclass(frozen=True)
class Branch:
    """The tiled squeeze and excitation of a block.

    Args:
        gate: the weights of each row, `(N, C, H, 1)`, or `(N, H, 1, C)` where channels come last.
        nodes: what computes them; each that stands for a node of the block bears its name with
            `.tiled` behind it.
        weights: name of each new weight → what it is a view of.
    """

    gate: ir.Value
    nodes: tuple[ir.Node, ...]
    weights: Mapping[str, View]


def add_tiled_branch(graph: ir.Graph, block: Block, tile_height: int) -> Branch:
    """Add the tiled squeeze and excitation beside the block's own; nothing reads it yet.

    Args:
        graph: the graph that holds the block; gets new nodes before the block's Mul.
        block: a block without a fault.
        tile_height: rows of a tile, at most the map's.
    """
    tiling = _Tiling(graph, block, tile_height)
    tiling.values[block.pool.output] = _pool(tiling)
    for node in block.body:
        tiling.values[node.outputs[0]] = _tiled(tiling, node)
    gate = _repeat(tiling, tiling.values[block.gate])
    if block.pool.channels_last:
        channels, height, _ = block.sizes
        gate = _transposed(tiling, gate, "channels_last", (0, 2, 3, 1), (height, 1, channels))
    graph.insert_before(block.mul, tiling.nodes)
    return Branch(gate, tuple(tiling.nodes), tiling.weights)


def replace_gate(graph: ir.Graph, block: Block, tile_height: int) -> Mapping[str, View]:
    """Put the tiled squeeze and excitation in the place of the block's own; names stay.

    Returns:
        The new weights with what they are views of.
    """
    branch = add_tiled_branch(graph, block, tile_height)
    for index, value in enumerate(block.mul.inputs):
        if value is block.gate:
            block.mul.replace_input_with(index, branch.gate)
    graph.remove([*block.pool.nodes, *block.body], safe=True)
    for node in branch.nodes:
        node.name = str(node.name).removesuffix(SUFFIX)
    return branch.weights


def drop_unused(network: ir.Model) -> None:
    """Remove what nothing reads any more: weights with another shape, the sizes of a Reshape."""
    RemoveUnusedNodesPass()(network)


def _pool(tiling: _Tiling) -> ir.Value:
    """Add the mean over each strip of full width; padding below the map does not count."""
    channels, height, width = tiling.block.sizes
    rows = tiling.tile_height
    missing = tile_count(height, rows) * rows - height
    source = tiling.block.source
    if tiling.block.pool.channels_last:
        sizes = (channels, height, width)
        source = _transposed(tiling, source, "channels_first", (0, 3, 1, 2), sizes)
    attributes = {
        "kernel_shape": [rows, width],
        "strides": [rows, width],
        "pads": [0, 0, missing, 0],
        "count_include_pad": 0,
    }
    return _add(
        tiling,
        "AveragePool",
        [source],
        tiling.block.name,
        channels,
        attributes=attributes,
        output=tiling.block.pool.output,
    )


def _repeat(tiling: _Tiling, gate: ir.Value) -> ir.Value:
    """Repeat each tile's weights for its rows, `(N, C, tiles, 1)` → `(N, C, H, 1)`."""
    height = tiling.block.sizes[1]
    indices = tile_of_rows(height, tiling.tile_height)
    name = f"{tiling.block.name}.rows"
    inputs = [gate, add_constant(tiling.graph, f"{name}.tiles", indices)]
    channels = _channels(gate)
    return _add(tiling, "Gather", inputs, name, channels, height, attributes={"axis": 2})


def _transposed(
    tiling: _Tiling, value: ir.Value, name: str, perm: Sequence[int], sizes: Sequence[int]
) -> ir.Value:
    """Add a Transpose that writes `(N, *sizes)`."""
    name = f"{tiling.block.name}.{name}"
    node = ir.node("Transpose", [value], attributes={"perm": list(perm)}, name=name)
    tiling.nodes.append(node)
    result, source = node.outputs[0], tiling.block.source
    assert source.shape is not None
    result.name, result.type = name, source.type
    result.shape = ir.Shape([source.shape[0], *sizes])
    return result


def _tiled(tiling: _Tiling, node: ir.Node) -> ir.Value:
    """Return what stands for a node's output; a node that only changes the form needs no other."""
    first = node.inputs[0]
    assert first is not None
    if node.op_type in FORM_OPS:
        return tiling.values[first]
    if node.op_type in LAYER_OPS:
        return _convolution(tiling, node, tiling.values[first])
    folded = _as_bias(tiling, node) if node.op_type == "Add" else None
    if folded is not None:
        return folded
    inputs = [_operand(tiling, node, value) for value in node.inputs]
    channels = max(_channels(v) for v in inputs if v is not None and v in tiling.values.values())
    return _add(
        tiling,
        node.op_type,
        inputs,
        str(node.name),
        channels,
        attributes=dict(node.attributes),
        output=node.outputs[0],
    )


def _as_bias(tiling: _Tiling, node: ir.Node) -> ir.Value | None:
    """Give what an Add adds to a MatMul to the convolution in its place, as its bias."""
    for value, added in (node.inputs, reversed(node.inputs)):
        array = constant(added)
        if value is None or added is None or array is None or only_reader(value) is not node:
            continue
        layer = tiling.values[value].producer()
        if layer is None or layer.op_type != "Conv" or len(layer.inputs) > 2:
            continue
        whole = np.broadcast_to(array.reshape(-1), (_channels(value),))
        layer.resize_inputs(3)
        layer.replace_input_with(2, _constant(tiling, f"{added.name}.{node.name}", whole))
        return layer.outputs[0]
    return None


def _operand(tiling: _Tiling, node: ir.Node, value: ir.Value | None) -> ir.Value | None:
    """Return what an element-wise node reads in the tiled branch."""
    array = constant(value)
    if value is None or value in tiling.values:
        return None if value is None else tiling.values[value]
    if array is None or array.size == 1 or node.op_type == "BatchNormalization":
        return value
    aligned = per_channel(array, node.outputs[0])
    assert aligned is not None, "the finder has seen to it"
    return _constant(tiling, f"{value.name}.{node.name}", aligned)


def _convolution(tiling: _Tiling, node: ir.Node, source: ir.Value) -> ir.Value:
    """Add a layer as a 1×1 convolution."""
    weight = node.inputs[1]
    array = constant(weight)
    assert weight is not None
    assert array is not None
    transposed = node.op_type == "MatMul"
    transposed |= node.op_type == "Gemm" and not int_attribute(node, "transB", 0)
    kernel = weight
    if array.ndim != 4:
        view = View(str(weight.name), transposed)
        kernel = _constant(tiling, f"{weight.name}.{node.name}", view.of(array))
        tiling.weights[str(kernel.name)] = view
    inputs = [source, kernel, *_bias(tiling, node)]
    channels = (kernel.shape or (0,))[0]
    assert isinstance(channels, int)
    group = int_attribute(node, "group", 1)
    attributes = {"kernel_shape": [1, 1], "group": group}
    return _add(
        tiling,
        "Conv",
        inputs,
        str(node.name),
        channels,
        attributes=attributes,
        output=node.outputs[0],
    )


def _bias(tiling: _Tiling, node: ir.Node) -> list[ir.Value]:
    """Return a layer's bias; a Gemm may have one that is broadcast, a Conv may not."""
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return []
    bias = node.inputs[2]
    array = constant(bias)
    assert array is not None
    channels = _channels(node.outputs[0])
    if array.shape == (channels,):
        return [bias]
    whole = np.broadcast_to(array.reshape(-1), (channels,))
    return [_constant(tiling, f"{bias.name}.{node.name}", whole)]


def _constant(tiling: _Tiling, name: str, array: NDArray[Any]) -> ir.Value:
    held = tiling.graph.initializers.get(name)
    return held if held is not None else add_constant(tiling.graph, name, array)


def _channels(value: ir.Value) -> int:
    sizes = [size for size in tuple(value.shape or ())[1:] if isinstance(size, int)]
    return sizes[0] if len(sizes) == 3 and sizes[0] != 1 else int(np.prod(sizes))


def _add(
    tiling: _Tiling,
    op: str,
    inputs: Sequence[ir.Value | None],
    name: str,
    channels: int,
    height: int | None = None,
    *,
    attributes: Mapping[str, Any],
    output: ir.Value | None = None,
) -> ir.Value:
    """Add a node that writes `(N, channels, tiles, 1)`, or `height` rows instead of the tiles."""
    node_name = name if output is None else f"{name}{SUFFIX}"
    node = ir.node(op, inputs, attributes=attributes, name=node_name)
    tiling.nodes.append(node)
    value, source = node.outputs[0], tiling.block.source
    value.name = name if output is None else f"{output.name}{SUFFIX}"
    rows = height or tile_count(tiling.block.sizes[1], tiling.tile_height)
    assert source.shape is not None
    value.shape = ir.Shape([source.shape[0], channels, rows, 1])
    value.type = source.type
    return value
