"""Where affine maps can be folded in a graph, and the folding itself."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.builtin.onnx_affine import Affine, absorbed, affine_of, constant, scaled_weight

_LAYERS = ("Conv", "ConvTranspose", "Gemm")


def fold_batchnorm(network: ir.Model) -> None:
    """Fold normalization into layers; in place, `y` unchanged but for rounding.

    1. What follows a Conv, ConvTranspose or Gemm channel by channel (BatchNormalization, or
       Mul, Div, Add, Sub with a constant) goes into it, if the layer has that one consumer, is
       no output of the graph, and has constant parameters. A scalar added before a Clip is left
       alone: together they are a hard sigmoid.
    2. A BatchNormalization before a Conv without padding, or a Gemm, goes into that.
    3. One that is left becomes a depthwise 1×1 Conv, a layer that every target runs in
       integers; on an input of rank 2, Mul and Add.
    """
    for node in list(network.graph):
        if node.op_type in _LAYERS and not node.domain:
            _fold_behind(network.graph, node)
    for node in list(network.graph):
        if node.op_type == "BatchNormalization" and not node.domain:
            _place_batchnorm(network.graph, node)


def _place_batchnorm(graph: ir.Graph, node: ir.Node) -> None:
    source = node.inputs[0]
    affine = None if source is None else affine_of(node, source, 0)
    if source is None or affine is None or source.shape is None:
        return
    if not _fold_ahead(graph, node, affine):
        _as_depthwise(graph, node, affine, len(source.shape))


def _fold_ahead(graph: ir.Graph, norm: ir.Node, affine: Affine) -> bool:
    """Fold `norm` into the layer behind it, and say whether that was possible."""
    value = norm.outputs[0]
    if len(value.uses()) != 1 or value.is_graph_output():
        return False
    layer = value.consumers()[0]
    weight = constant(layer.inputs[1]) if len(layer.inputs) > 1 else None
    if layer.inputs[0] is not value or weight is None or not _takes_affine(layer):
        return False
    bias = _bias(layer, _channels(layer, weight))
    if bias is None:
        return False
    across = layer.op_type == "Gemm" and not layer.attributes.get_int("transB", 0)
    rows = weight.T if across else weight
    new, shift = absorbed(rows, affine, layer.attributes.get_int("group", 1))
    shift *= layer.attributes.get_float("alpha", 1.0)
    dtype = layer.inputs[1].const_value.dtype.numpy()  # type: ignore[union-attr]
    layer.replace_input_with(0, norm.inputs[0])
    _set_parameters(
        graph, layer, (new.T if across else new).astype(dtype), (bias + shift).astype(dtype)
    )
    graph.remove(norm, safe=True)
    return True


def _takes_affine(layer: ir.Node) -> bool:
    """Say whether each output of the layer sees every input position, none of it padding."""
    attributes = layer.attributes
    if layer.op_type == "Gemm":
        return not attributes.get_int("transA", 0)
    unpadded = not any(attributes.get_ints("pads", ()))
    return (
        layer.op_type == "Conv"
        and unpadded
        and attributes.get_string("auto_pad", "NOTSET") in ("NOTSET", "VALID")
    )


def _channels(node: ir.Node, weight: NDArray[np.float64]) -> int:
    if node.op_type == "Conv":
        return int(weight.shape[0])
    if node.op_type == "ConvTranspose":
        return int(weight.shape[1]) * node.attributes.get_int("group", 1)
    return int(weight.shape[0 if node.attributes.get_int("transB", 0) else 1])


def _fold_behind(graph: ir.Graph, node: ir.Node) -> None:
    weight = constant(node.inputs[1])
    if weight is None:
        return
    channels = _channels(node, weight)
    bias = _bias(node, channels)
    if bias is None:
        return
    chain, affine = _chain(node.outputs[0], channels)
    if not chain:
        return
    kind = "Conv" if node.attributes.get_int("transB", 0) else node.op_type
    group = node.attributes.get_int("group", 1)
    dtype = node.inputs[1].const_value.dtype.numpy()  # type: ignore[union-attr]
    new_weight = scaled_weight(kind, weight, affine.scale, group).astype(dtype)
    new_bias = (bias * affine.scale + affine.shift).astype(dtype)
    _set_parameters(graph, node, new_weight, new_bias)
    _skip(graph, node, chain)


def _bias(node: ir.Node, channels: int) -> NDArray[np.float64] | None:
    """Return the bias as `(channels,)`, Gemm's beta applied; None if it is not constant."""
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return np.zeros(channels)
    bias = constant(node.inputs[2])
    if bias is None or bias.shape not in ((), (1,), (1, 1), (channels,), (1, channels)):
        return None
    return np.broadcast_to(bias.reshape(-1), (channels,)) * node.attributes.get_float("beta", 1.0)


def _chain(start: ir.Value, channels: int) -> tuple[list[ir.Node], Affine]:
    """Return the nodes behind `start` that can be folded, and what they do together."""
    total = Affine(np.ones(channels), np.zeros(channels))
    chain: list[ir.Node] = []
    value = start
    while len(value.uses()) == 1 and not value.is_graph_output():
        node = value.consumers()[0]
        affine = affine_of(node, value, channels)
        if affine is None or _is_hard_sigmoid(node):
            break
        total = total.then(affine)
        chain.append(node)
        value = node.outputs[0]
    return chain, total


def _is_hard_sigmoid(node: ir.Node) -> bool:
    """Say whether the node is the `x + 3` of `clip(x + 3, 0, 6) / 6`."""
    if node.op_type != "Add":
        return False
    scalar = any(
        v is not None and v.const_value is not None and v.const_value.size == 1 for v in node.inputs
    )
    return scalar and [n.op_type for n in node.outputs[0].consumers()] == ["Clip"]


def _set_parameters(
    graph: ir.Graph, node: ir.Node, weight: NDArray[np.generic], bias: NDArray[np.generic]
) -> None:
    node.resize_inputs(3)
    node.attributes.pop("beta", None)
    for index, array, suffix in ((1, weight, "weight"), (2, bias, "bias")):
        old = node.inputs[index]
        node.replace_input_with(index, None)
        name = old.name if old is not None and not old.uses() else f"{node.name}.{suffix}"
        if old is not None and not old.uses() and not old.is_graph_output():
            graph.initializers.pop(str(old.name), None)
        node.replace_input_with(index, add_initializer(graph, str(name), array))


def add_initializer(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    """Register a constant under `name`, or the next free name like it."""
    taken = set(ir.convenience.create_value_mapping(graph, include_subgraphs=False))
    free, count = name, 0
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    tensor = ir.Tensor(np.ascontiguousarray(array), name=free)
    value = ir.Value(
        name=free, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value


def _skip(graph: ir.Graph, node: ir.Node, chain: list[ir.Node]) -> None:
    """Let `node` write what the chain's last node wrote, under that name."""
    last = chain[-1].outputs[0]
    name = last.name
    last.replace_all_uses_with(node.outputs[0], replace_graph_outputs=True)
    graph.remove(chain, safe=True)
    node.outputs[0].name = name


def _as_depthwise(graph: ir.Graph, node: ir.Node, affine: Affine, rank: int) -> None:
    dtype = node.inputs[1].const_value.dtype.numpy()  # type: ignore[union-attr]
    channels = affine.scale.size
    shape = (channels, 1, *[1] * (rank - 2))
    scale = affine.scale.astype(dtype)
    shift = affine.shift.astype(dtype)
    if rank > 2:
        weight = add_initializer(graph, f"{node.name}.weight", scale.reshape(shape))
        bias = add_initializer(graph, f"{node.name}.bias", shift)
        made = [
            ir.node("Conv", [node.inputs[0], weight, bias], {"group": channels}, name=node.name)
        ]
    else:
        factor = add_initializer(graph, f"{node.name}.scale", scale)
        term = add_initializer(graph, f"{node.name}.shift", shift)
        first = ir.node("Mul", [node.inputs[0], factor], name=f"{node.name}.mul")
        made = [first, ir.node("Add", [first.outputs[0], term], name=node.name)]
    ir.convenience.replace_nodes_and_values(
        graph, node, [node], made, node.outputs[:1], made[-1].outputs
    )
