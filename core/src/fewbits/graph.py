"""Layers, edges and small edits over onnx-ir graphs; the only place that knows op attributes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

WEIGHTED_OPS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
FUSABLE_ACTIVATIONS = frozenset({"Relu", "Clip", "Min"})
#: ops that put numbers elsewhere and compute nothing.
MOVING_OPS = frozenset(
    {
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "MaxPool",
        "Reshape",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)


@dataclass(frozen=True)
class Layer:
    """A weighted op with the activation fused behind it.

    Args:
        node: the Conv, ConvTranspose, Gemm, or MatMul with a constant right-hand side.
        weight: its weight, a constant; `(out, in/groups, kh, kw)` for Conv.
        bias: its bias of shape `(out,)`, a constant, or None.
        activation: the Relu or Clip behind it, when it is the only reader; else None.
        bound: the Min with a constant behind that, the upper bounds of a Clip whose bounds differ
            by channel; else None.
    """

    node: ir.Node
    weight: ir.Value
    bias: ir.Value | None
    activation: ir.Node | None
    bound: ir.Node | None = None

    @property
    def name(self) -> str:
        """The node's name, which is the layer's name everywhere."""
        return str(self.node.name)

    @property
    def op_type(self) -> str:
        """Conv, ConvTranspose, Gemm or MatMul."""
        return self.node.op_type

    @property
    def input(self) -> ir.Value:
        """The activation that goes in."""
        value = self.node.inputs[0]
        assert value is not None
        return value

    @property
    def output(self) -> ir.Value:
        """What the layer writes, behind its fused activation."""
        return (self.bound or self.activation or self.node).outputs[0]

    @property
    def weight_axis(self) -> int:
        """Axis of the output channels in the weight.

        A grouped ConvTranspose holds `(in, out/groups, kh, kw)`: its groups share the axis.
        """
        if self.op_type == "ConvTranspose":
            return 1
        if self.op_type == "Gemm":
            return 0 if int_attribute(self.node, "transB", 0) else 1
        if self.op_type == "MatMul":
            return len(self.weight.shape or ()) - 1
        return 0

    @property
    def out_channels(self) -> int:
        """Number of output channels."""
        per_group = (self.weight.shape or ())[self.weight_axis]
        assert isinstance(per_group, int)
        return per_group * self.groups if self.op_type == "ConvTranspose" else per_group

    @property
    def groups(self) -> int:
        """Number of channel groups; 1 for Gemm and MatMul."""
        return int_attribute(self.node, "group", 1)


def int_attribute(node: ir.Node, name: str, default: int) -> int:
    """Return an integer attribute of a node, or `default` when it is absent."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def constant(value: ir.Value | None) -> NDArray[np.generic] | None:
    """Return the array behind a value that never changes, or None for a computed one."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def values_by_name(graph: ir.Graph) -> dict[str, ir.Value]:
    """Return every value of a graph by its name."""
    values = [*graph.inputs, *graph.initializers.values()]
    values += [v for node in graph for v in node.outputs]
    return {str(v.name): v for v in values}


def show(graph: ir.Graph, names: Iterable[str]) -> None:
    """Make values outputs of a graph that are none yet, behind those that it has, in place."""
    values = values_by_name(graph)
    shown = [v for name in names if not (v := values[name]).is_graph_output()]
    graph.outputs.extend(dict.fromkeys(shown))


def readers(value: ir.Value) -> list[ir.Node]:
    """Return the nodes that read a value, each once."""
    return list(dict.fromkeys(value.consumers()))


def only_reader(value: ir.Value) -> ir.Node | None:
    """Return the one node that reads a value; None if there are more, or it leaves the graph."""
    found = readers(value)
    return found[0] if len(found) == 1 and not value.is_graph_output() else None


def clip_bounds(node: ir.Node) -> tuple[float, float] | None:
    """Return the bounds that a Relu or Clip keeps its output in; None if they are computed."""
    if node.op_type == "Relu":
        return 0.0, np.inf
    bounds = [-np.inf, np.inf]
    for place, value in enumerate(node.inputs[1:3]):
        if value is None:
            continue
        array = constant(value)
        if array is None:
            return None
        bounds[place] = float(array.reshape(())) if array.size == 1 else np.nan
    return None if np.isnan(bounds).any() else (bounds[0], bounds[1])


def fused_activation(
    node: ir.Node, allowed: frozenset[str] = FUSABLE_ACTIVATIONS
) -> ir.Node | None:
    """Return the Relu or Clip behind `node` that a device computes together with it."""
    behind = only_reader(node.outputs[0])
    if behind is None or behind.op_type not in allowed & {"Relu", "Clip"}:
        return None
    bounds = clip_bounds(behind)
    return behind if bounds and bounds[0] <= 0.0 <= bounds[1] else None


def fused_bound(node: ir.Node, allowed: frozenset[str] = FUSABLE_ACTIVATIONS) -> ir.Node | None:
    """Return the Min with a constant behind `node` that a device computes together with it."""
    behind = only_reader(node.outputs[0])
    if behind is None or behind.op_type not in allowed & {"Min"}:
        return None
    bounds = upper_bounds(behind)
    return behind if bounds is not None and bounds.min(initial=0.0) >= 0.0 else None


def upper_bounds(node: ir.Node) -> NDArray[np.float32] | None:
    """Return the constant of a Min of one computed value and one constant; else None."""
    fixed = [array for value in node.inputs if (array := constant(value)) is not None]
    one = len(node.inputs) == 2 and len(fixed) == 1
    return np.asarray(fixed[0], np.float32) if one else None


def is_layer(node: ir.Node) -> bool:
    """Whether a node is a weighted op with constant weight and bias that devices can run."""
    if node.op_type not in WEIGHTED_OPS or node.domain not in ("", "ai.onnx"):
        return False
    if any(constant(value) is None for value in node.inputs[1:] if value is not None):
        return False
    if node.op_type == "MatMul":
        return node.inputs[1] is not None and len(node.inputs[1].shape or ()) == 2
    return node.op_type != "Gemm" or _is_plain_gemm(node)


def _is_plain_gemm(node: ir.Node) -> bool:
    factors = [node.attributes[k].as_float() for k in ("alpha", "beta") if k in node.attributes]
    if int_attribute(node, "transA", 0) or any(factor != 1.0 for factor in factors):
        return False
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    return bias is None or bias.size == 1 or bias.size == bias.shape[-1]


def layers(graph: ir.Graph, activations: frozenset[str] = FUSABLE_ACTIVATIONS) -> Iterator[Layer]:
    """Yield the layers of a graph in its order."""
    for node in graph:
        if is_layer(node):
            bias = node.inputs[2] if len(node.inputs) > 2 else None
            weight = node.inputs[1]
            assert weight is not None
            activation = fused_activation(node, activations)
            bound = fused_bound(activation or node, activations)
            yield Layer(node, weight, bias, activation, bound)


def read_only(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return a contiguous array that nobody can write to."""
    fixed = np.asarray(array, order="C").reshape(np.shape(array))  # numpy makes 0-d arrays 1-d
    if fixed is array:
        fixed = array.view()
    fixed.flags.writeable = False
    return fixed


def set_constant(value: ir.Value, array: NDArray[np.generic]) -> None:
    """Give an initializer new contents; shape and type follow."""
    tensor = ir.Tensor(read_only(array), name=value.name)
    value.const_value = tensor
    value.shape = tensor.shape
    value.dtype = tensor.dtype


def add_constant(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    """Add an initializer to a graph and return its value."""
    tensor = ir.Tensor(read_only(array), name=name)
    value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype))
    value.const_value = tensor
    graph.register_initializer(value)
    return value


def only_moves(node: ir.Node) -> bool:
    """Whether a node puts numbers elsewhere and computes none, though it may add zeros."""
    if node.op_type == "Pad":
        mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "constant"
        fill = constant(node.inputs[2]) if len(node.inputs) > 2 else None
        zeros = fill is None or not np.any(fill)
        return mode != "constant" or (zeros and all(map(_fixed, node.inputs[1:])))
    if node.op_type == "Resize":
        mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "nearest"
        return mode == "nearest"
    return node.op_type in MOVING_OPS


def _fixed(value: ir.Value | None) -> bool:
    return value is None or constant(value) is not None


def rank(value: ir.Value) -> int | None:
    """Return the number of dimensions, or None when inference did not find it."""
    return None if value.shape is None else len(value.shape)


def free_name(graph: ir.Graph, name: str) -> str:
    """Return `name`, with a number behind it if an initializer has it already."""
    found, number = name, 1
    while found in graph.initializers:
        found, number = f"{name}.{number}", number + 1
    return found


def unshare_constants(graph: ir.Graph) -> dict[str, str]:
    """Give every layer a weight and a bias of its own, so that each can have its own grid.

    Returns:
        Name of each copy → name of the constant it was copied from.
    """
    copies: dict[str, str] = {}
    for node in graph:
        if not is_layer(node):
            continue
        for index, value in enumerate(node.inputs[1:3], start=1):
            array = constant(value)
            if value is None or array is None or len(list(value.uses())) == 1:
                continue
            copy = add_constant(graph, free_name(graph, f"{value.name}.{node.name}"), array)
            node.replace_input_with(index, copy)
            copies[str(copy.name)] = str(value.name)
    return copies


def flatten_biases(graph: ir.Graph) -> None:
    """Give every Gemm's bias, which ONNX lets broadcast, the shape `(out,)`; none is shared."""
    for layer in list(layers(graph)):
        bias = None if layer.bias is None else constant(layer.bias)
        if layer.bias is not None and bias is not None and bias.shape != (layer.out_channels,):
            set_constant(layer.bias, np.broadcast_to(bias.ravel(), (layer.out_channels,)))


def ensure_bias(graph: ir.Graph, node: ir.Node, channels: int) -> None:
    """Give a Conv, ConvTranspose or Gemm without a bias one of zeros, `(channels,)`."""
    if node.op_type == "MatMul" or (len(node.inputs) > 2 and node.inputs[2] is not None):
        return
    name = free_name(graph, f"{node.name}.bias")
    zeros = add_constant(graph, name, np.zeros(channels, np.float32))
    node.resize_inputs(3)
    node.replace_input_with(2, zeros)
