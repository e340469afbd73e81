"""Says a network in the opset that Hailo's parser reads; fewbits itself works in a later one."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import onnx
import onnx_ir as ir
from fewbits.errors import TargetError
from fewbits.graph import add_constant, constant, free_name

#: The parser reads opsets 8 and 11 to 17 (second-hand).
OPSET = 17
IR_VERSION = 8


def lower_opset(network: ir.Model) -> None:
    """Rewrite each op that opset 17 says otherwise, in place; what it computes stays the same.

    Raises:
        TargetError: an op, attribute or input cannot be said in opset 17; names the node.
    """
    for node in list(network.graph):
        _REWRITES.get(node.op_type, _as_it_is)(network.graph, node)
    for node in network.graph:
        _check_expressible(node)
    network.graph.opset_imports[""] = OPSET
    network.ir_version = IR_VERSION


def _as_it_is(graph: ir.Graph, node: ir.Node) -> None:
    """Leave the node alone."""


def _reduce(graph: ir.Graph, node: ir.Node) -> None:
    """Move the axes from an input into an attribute."""
    axes = _constant_input(node, 1)
    if axes is None and _flag(node, "noop_with_empty_axes"):
        raise _inexpressible(node, "reduces nothing")
    node.attributes.pop("noop_with_empty_axes", None)
    node.resize_inputs(1)
    if axes is not None:
        node.attributes["axes"] = ir.AttrInt64s("axes", [int(axis) for axis in axes.ravel()])


def _split(graph: ir.Graph, node: ir.Node) -> None:
    """Give the sizes as an input where the parts are not equal, and drop their number."""
    if node.attributes.pop("num_outputs", None) is None:
        return
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    sizes = [value.shape[axis] if value.shape is not None else None for value in node.outputs]
    if len(set(sizes)) == 1:
        return
    if not all(isinstance(size, int) for size in sizes):
        raise _inexpressible(node, "has parts of unequal, unknown size")
    held = np.asarray(sizes, np.int64)
    node.resize_inputs(2)
    node.replace_input_with(1, add_constant(graph, free_name(graph, f"{node.name}.split"), held))


def _pad(graph: ir.Graph, node: ir.Node) -> None:
    """Write the pads of every axis where only some were named."""
    axes, pads = _constant_input(node, 3), _constant_input(node, 1)
    source = node.inputs[0]
    if axes is not None:
        if pads is None or source is None or source.shape is None:
            raise _inexpressible(node, "pads axes that are not known")
        rank = len(source.shape)
        full = np.zeros((2, rank), np.int64)
        full[:, axes.ravel().astype(np.int64) % rank] = pads.reshape(2, -1)
        name = free_name(graph, f"{node.name}.pads")
        node.replace_input_with(1, add_constant(graph, name, full.ravel()))
    if len(node.inputs) > 3:
        node.resize_inputs(3)


def _resize(graph: ir.Graph, node: ir.Node) -> None:
    """Drop the attributes that say what opset 17 does anyway."""
    policy = node.attributes.get("keep_aspect_ratio_policy")
    if policy is not None and policy.as_string() == "stretch":
        del node.attributes["keep_aspect_ratio_policy"]
    if not _flag(node, "antialias"):
        node.attributes.pop("antialias", None)


def _average_pool(graph: ir.Graph, node: ir.Node) -> None:
    """Drop dilations of one."""
    dilations = node.attributes.get("dilations")
    if dilations is not None and set(dilations.as_ints()) == {1}:
        del node.attributes["dilations"]


def _gelu(graph: ir.Graph, node: ir.Node) -> None:
    """Write `x · (erf(x / √2) + 1) / 2`."""
    kind = node.attributes.get("approximate")
    if kind is not None and kind.as_string() != "none":
        raise _inexpressible(node, "is approximated by tanh")
    one, two = (_scalar(graph, node, str(number), number) for number in (1.0, 2.0))
    scaled = _before(graph, node, "Mul", node.inputs[0], _scalar(graph, node, "root", 0.5**0.5))
    shifted = _before(graph, node, "Add", _before(graph, node, "Erf", scaled), one)
    _become_product(graph, node, _before(graph, node, "Div", shifted, two))


def _mish(graph: ir.Graph, node: ir.Node) -> None:
    """Write `x · tanh(softplus(x))`."""
    soft = _before(graph, node, "Softplus", node.inputs[0])
    _become_product(graph, node, _before(graph, node, "Tanh", soft))


def _scalar(graph: ir.Graph, node: ir.Node, name: str, number: float) -> ir.Value:
    held = np.asarray(number, np.float32)
    return add_constant(graph, free_name(graph, f"{node.name}.{name}"), held)


def _before(graph: ir.Graph, node: ir.Node, op_type: str, *inputs: ir.Value | None) -> ir.Value:
    """Put a node in front of `node` and return its output."""
    new = ir.node(op_type, list(inputs), name=f"{node.name}.{op_type}")
    new.outputs[0].name = f"{node.name}.{op_type}_out"
    new.outputs[0].shape, new.outputs[0].type = node.outputs[0].shape, node.outputs[0].type
    graph.insert_before(node, new)
    return new.outputs[0]


def _become_product(graph: ir.Graph, node: ir.Node, factor: ir.Value) -> None:
    """Put `x · factor` in place of a function of `x`, under its name."""
    new = ir.node("Mul", [node.inputs[0], factor], name=node.name)
    old = node.outputs[0]
    new.outputs[0].shape, new.outputs[0].type = old.shape, old.type
    graph.insert_before(node, new)
    ir.convenience.replace_all_uses_with(old, new.outputs[0], replace_graph_outputs=True)
    graph.remove(node, safe=True)
    old.name, new.outputs[0].name = None, old.name


def _constant_input(node: ir.Node, index: int) -> np.ndarray | None:
    """Return an optional input's array; raise where it is computed."""
    value = node.inputs[index] if len(node.inputs) > index else None
    array = constant(value)
    if value is not None and array is None:
        raise _inexpressible(node, "takes computed axes")
    return None if array is None else np.asarray(array)


def _flag(node: ir.Node, name: str) -> bool:
    return name in node.attributes and bool(node.attributes[name].as_int())


def _check_expressible(node: ir.Node) -> None:
    if not onnx.defs.has(node.op_type, max_inclusive_version=OPSET):
        raise _inexpressible(node, "is newer")
    schema = onnx.defs.get_schema(node.op_type, OPSET)
    extra = set(node.attributes) - set(schema.attributes)
    if extra:
        raise _inexpressible(node, f"has the newer attribute {', '.join(sorted(extra))}")
    if len(node.inputs) > schema.max_input:
        raise _inexpressible(node, "has newer inputs")


def _inexpressible(node: ir.Node, why: str) -> TargetError:
    return TargetError(
        f"{node.op_type} '{node.name}' {why}, and opset {OPSET}, which Hailo's parser reads, "
        "cannot say that.",
        hint=f"Export the network with opset_version={OPSET}, or cut the node off with "
        "--end-node-names.",
    )


_REDUCTIONS = (
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
    "ReduceSumSquare"
)
_REWRITES: Mapping[str, Callable[[ir.Graph, ir.Node], None]] = MappingProxyType(
    {
        **dict.fromkeys(_REDUCTIONS.split(), _reduce),
        "Split": _split,
        "Pad": _pad,
        "Resize": _resize,
        "AveragePool": _average_pool,
        "Gelu": _gelu,
        "Mish": _mish,
    }
)
