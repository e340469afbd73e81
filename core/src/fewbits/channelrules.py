"""How each op passes on the labels of channels; True when it does (see `channels`).

A rule may tie and label, or say that it cannot: then nothing around the node is rescaled.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator

from fewbits.channelwalk import Labels, Walk
from fewbits.graph import Layer, clip_bounds, constant, fused_activation, fused_bound, is_layer
from fewbits.ties import ZERO, Ids

Rule = Callable[[Walk, ir.Node], bool]


def layer(walk: Walk, node: ir.Node) -> bool:
    """Reads channels with its weight, writes new ones with its weight and bias."""
    if not is_layer(node) or any(_shared(v) for v in node.inputs[1:3] if v is not None):
        return False
    weight, source = node.inputs[1], walk.labels(node.inputs[0])
    assert weight is not None
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    activation = fused_activation(node)
    found = Layer(node, weight, bias, activation, fused_bound(activation or node))
    axis = 1 if node.op_type.startswith("Conv") else -1
    shape = None if source is None else walk.like(node.outputs[0], source)
    if source is None or shape is None or len(shape) != len(source.shape):
        return False
    if bias is not None and np.asarray(constant(bias)).size != found.out_channels:
        return False
    walk.readers.append((found, walk.channels(source, axis)))
    written = walk.ties.fresh(found.out_channels)
    walk.writers.append((found, written))
    spread = [1] * len(shape)
    spread[axis] = -1
    return walk.hold(node.outputs[0], written.reshape(spread), shape)


def _shared(value: ir.Value) -> bool:
    return len(list(value.uses())) > 1


def same(walk: Walk, node: ir.Node) -> bool:
    """`g(f·x) = f·g(x)` for every positive f, element by element."""
    labels = walk.labels(node.inputs[0])
    varying = [v for v in node.inputs[1:] if v is not None and constant(v) is None]
    if labels is None or varying:
        return False
    return walk.hold(node.outputs[0], labels.ids, labels.shape)


def clip(walk: Walk, node: ir.Node) -> bool:
    """Keeps its labels, as its bounds can scale with them."""
    bounds, labels = clip_bounds(node), walk.labels(node.inputs[0])
    if bounds is None or labels is None:
        return False
    ids = labels.ids
    if not bounds[0] <= 0.0 <= bounds[1] and (ids == ZERO).any():
        return False
    walk.operands.append((node, -1, ids))
    return walk.hold(node.outputs[0], ids, labels.shape)


def together(walk: Walk, node: ir.Node) -> bool:
    """Add, Sub, Max, Min: operands of one factor; constants scale with the others."""
    varying = [v for v in node.inputs if v is not None and constant(v) is None]
    found = [labels for v in varying if (labels := walk.labels(v)) is not None]
    fixed = {i: np.asarray(constant(v)) for i, v in enumerate(node.inputs) if v not in varying}
    if not found or len(found) < len(varying):
        return False
    shape = np.broadcast_shapes(*(x.shape for x in found), *(a.shape for a in fixed.values()))
    ids = found[0].ids
    for other in found[1:]:
        walk.ties.unite(ids, other.ids)
        ids = np.where(ids == ZERO, other.ids, ids)
    if fixed and (ids == ZERO).any():
        return False
    ids = ids.reshape(_aligned(ids, len(shape)))
    walk.operands.extend((node, index, ids) for index in fixed)
    return walk.hold(node.outputs[0], ids, shape)


def product(walk: Walk, node: ir.Node) -> bool:
    """Mul and Div: one operand keeps its factor, the other has to have none.

    Of two computed operands the smaller is held fixed, as the gate of a squeeze-and-excite block;
    of two equally large ones the second.
    """
    first, second = node.inputs[:2]
    one, other = walk.labels(first), walk.labels(second)
    if second is not None and constant(second) is not None:
        return one is not None and _times_constant(walk, node, one, second)
    if node.op_type == "Mul" and first is not None and constant(first) is not None:
        return other is not None and _times_constant(walk, node, other, first)
    if one is None or other is None:
        return False
    if node.op_type == "Mul" and _is_gate(walk, one, other):
        one, other = other, one
    walk.ties.fix(other.ids, f"{node.op_type} '{node.name}' multiplies by it")
    shape = np.broadcast_shapes(one.shape, other.shape)
    return walk.hold(node.outputs[0], one.ids.reshape(_aligned(one.ids, len(shape))), shape)


def _is_gate(walk: Walk, labels: Labels, other: Labels) -> bool:
    return math.prod(labels.shape) < math.prod(other.shape) or not walk.ties.any_free(labels.ids)


def _aligned(ids: Ids, rank: int) -> tuple[int, ...]:
    return (1,) * (rank - ids.ndim) + ids.shape


def _times_constant(walk: Walk, node: ir.Node, labels: Labels, value: ir.Value) -> bool:
    shape = np.broadcast_shapes(labels.shape, np.asarray(constant(value)).shape)
    return walk.hold(node.outputs[0], labels.ids.reshape(_aligned(labels.ids, len(shape))), shape)


def spatial(walk: Walk, node: ir.Node) -> bool:
    """Pooling and Resize: what lies in one channel shares its factor."""
    labels = walk.labels(node.inputs[0])
    shape = None if labels is None else walk.like(node.outputs[0], labels)
    if labels is None or shape is None or len(node.outputs) > 1:
        return False
    if node.op_type == "Resize" and shape[:2] != labels.shape[:2]:
        return False
    return walk.hold(node.outputs[0], walk.united(labels.ids, range(2, len(shape))), shape)


def reduced(walk: Walk, node: ir.Node) -> bool:
    """ReduceMean, ReduceMax, ReduceMin, ReduceSum: what is put together shares its factor."""
    labels = walk.labels(node.inputs[0])
    if labels is None:
        return False
    kept = node.attributes.get("keepdims")
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    array = None if axes is None else constant(axes)
    if (axes is not None and array is None) or "axes" in node.attributes:
        return False
    rank = len(labels.shape)
    gone = sorted({int(a) % rank for a in ([] if array is None else array.ravel())} or range(rank))
    ids = walk.united(labels.ids, gone)
    shape = tuple(1 if a in gone else size for a, size in enumerate(labels.shape))
    if kept is not None and not kept.as_int():
        ids = ids.squeeze(tuple(gone))
        shape = tuple(size for a, size in enumerate(labels.shape) if a not in gone)
    return walk.hold(node.outputs[0], ids, shape)


def moved(walk: Walk, node: ir.Node) -> bool:
    """Ops that put numbers elsewhere put the labels there."""
    count = len(node.inputs) if node.op_type == "Concat" else 1
    arrays: dict[str, NDArray[Any]] = {}
    for place, value in enumerate(node.inputs):
        if value is None:
            continue
        labels, array = walk.labels(value), constant(value)
        if place < count and labels is not None:
            arrays[str(value.name)] = labels.full
        elif array is not None:
            arrays[str(value.name)] = walk.constants(value) if place < count else array
        else:
            return False
    try:
        found = _run(node, arrays)
    except (ValueError, IndexError, RuntimeError):
        return False
    for value, ids in zip(node.outputs, found, strict=True):
        walk.hold(value, np.asarray(ids, np.int64))
    return True


def padded(walk: Walk, node: ir.Node) -> bool:
    """Pad: zeros take any factor, another constant takes none."""
    filler = node.inputs[2] if len(node.inputs) > 2 else None
    if filler is not None:
        array = constant(filler)
        if array is None or np.any(array != 0):
            return False
    mode = node.attributes.get("mode")
    labels, pads = walk.labels(node.inputs[0]), constant(node.inputs[1])
    axes = node.inputs[3] if len(node.inputs) > 3 else None
    if labels is None or pads is None or (mode is not None and mode.as_string() != "constant"):
        return False
    rank = len(labels.shape)
    if axes is not None:
        return False
    widths = [(int(pads[a]), int(pads[a + rank])) for a in range(rank)]
    if min(min(w) for w in widths) < 0:
        return False
    ids: Ids = np.pad(labels.full, widths, constant_values=ZERO)
    return walk.hold(node.outputs[0], ids)


def _run(node: ir.Node, arrays: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Run one node on labels by ONNX's reference implementation."""
    outputs = [str(v.name) for v in node.outputs]
    assert node.graph is not None
    opsets = [helper.make_opsetid(d, v) for d, v in node.graph.opset_imports.items()]
    proto = ir.to_proto(node)
    function = helper.make_function("local", "node", list(arrays), outputs, [proto], opsets)
    found = ReferenceEvaluator(function).run(None, dict(arrays), attributes={})
    return [np.asarray(found_one) for found_one in found]


def _table() -> dict[str, Rule]:
    rules: dict[Rule, str] = {
        layer: "Conv ConvTranspose Gemm MatMul",
        same: "Abs Dropout Identity LeakyRelu Neg PRelu Relu",
        clip: "Clip",
        together: "Add Max Min Sub",
        product: "Div Mul",
        spatial: "AveragePool GlobalAveragePool GlobalMaxPool MaxPool Resize",
        reduced: "ReduceMax ReduceMean ReduceMin ReduceSum",
        moved: "Concat DepthToSpace Expand Flatten Gather Reshape Slice SpaceToDepth Split Squeeze "
        "Tile Transpose Unsqueeze",
        padded: "Pad",
    }
    return {op: rule for rule, ops in rules.items() for op in ops.split()}


#: op type → its rule.
RULES: Mapping[str, Rule] = MappingProxyType(_table())
