"""What fewbits cannot take, found before any work is done on the graph."""

from math import prod

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.errors import ModelError

CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
QUANTIZED = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "ConvInteger",
        "MatMulInteger",
        "DynamicQuantizeMatMul",
        "DynamicQuantizeLSTM",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "QAttention",
        "QGemm",
    }
)
#: Ops that may be told "no bound".
_MAY_BE_INFINITE = frozenset({"Clip", "Pad", "Min", "Max", "Where"})
_OTHER_FLOATS = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE})
_FLOAT32 = "Export the network in float32."
_SHAPES = "Check the input's shape (--input-shape), or export the network again."
_CUT = "cut it off with --end-node-names at a node before it"


def name_of(node: ir.Node) -> str:
    """Return how a message calls a node: its name, or the tensor it makes."""
    if node.name:
        return f"node '{node.name}'"
    return f"the node that makes '{node.outputs[0].name if node.outputs else '?'}'"


def check_opset(network: ir.Model, oldest: int) -> None:
    """Raise ModelError unless the opset lies between `oldest` and the newest onnx knows."""
    version = network.opset_imports.get("")
    newest = onnx.defs.onnx_opset_version()
    if version is None:
        raise ModelError(
            "The network imports no ONNX opset, only " + ", ".join(network.opset_imports) + ".",
            hint="Export it with standard ONNX operators.",
        )
    if not oldest <= version <= newest:
        raise ModelError(
            f"The network uses opset {version}; opsets {oldest} to {newest} can be read.",
            hint="Export it again, with opset_version=17 for instance.",
        )


def check_nodes(network: ir.Model) -> None:
    """Raise ModelError at the first op that is quantized, control flow, custom or unknown."""
    version = network.opset_imports[""]
    for node in network.graph:
        _check_float(node)
        _check_straight(node)
        _check_known(node, version)


def _check_float(node: ir.Node) -> None:
    if node.op_type in QUANTIZED or node.op_type.startswith("QLinear"):
        raise ModelError(
            f"The network is already quantized: {name_of(node)} is {node.op_type}.",
            hint="Give the full-precision network, as it was before quantization.",
        )


def _check_straight(node: ir.Node) -> None:
    graphs = {ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS}
    if node.op_type in CONTROL_FLOW or any(a.type in graphs for a in node.attributes.values()):
        raise ModelError(
            f"Control flow cannot be quantized: {name_of(node)} is {node.op_type}.",
            hint=f"Export the network without it (traced, not scripted), or {_CUT}.",
        )


def _check_known(node: ir.Node, version: int) -> None:
    if node.domain:
        raise ModelError(
            f"Op {node.op_type} of {name_of(node)} belongs to the custom domain '{node.domain}'.",
            hint=f"Export the network with standard ONNX operators, or {_CUT}.",
        )
    if not onnx.defs.has(node.op_type, max_inclusive_version=version):
        raise ModelError(
            f"Op {node.op_type} of {name_of(node)} is unknown in opset {version}.",
            hint=f"Export the network with standard ONNX operators, or {_CUT}.",
        )


def check_sizes(network: ir.Model) -> None:
    """Raise ModelError at a Conv with a weight for other channels, or a Reshape of other size.

    onnx's shape inference looks at neither. Shapes are those of one sample.
    """
    for node in network.graph:
        if node.op_type in ("Conv", "ConvTranspose"):
            data, weight = (_static(value) for value in node.inputs[:2])
            if data and weight and min(len(data), len(weight)) > 2:
                _check_channels(node, data, weight)
        if node.op_type == "Reshape":
            data, result = _static(node.inputs[0]), _static(node.outputs[0])
            if data is not None and result is not None and prod(data) != prod(result):
                raise ModelError(
                    f"Shapes do not fit together: {name_of(node)} (Reshape) gets {prod(data)} "
                    f"numbers, and its shape holds {prod(result)}.",
                    hint=_SHAPES,
                )


def _static(value: ir.Value | None) -> list[int] | None:
    """Return a shape all of whose dimensions are known, else None."""
    if value is None or value.shape is None:
        return None
    dims = [d for d in value.shape if isinstance(d, int)]
    return dims if len(dims) == len(value.shape) else None


def _check_channels(node: ir.Node, data: list[int], weight: list[int]) -> None:
    transposed = node.op_type == "ConvTranspose"
    taken = weight[0] if transposed else weight[1] * node.attributes.get_int("group", 1)
    if data[1] != taken:
        raise ModelError(
            f"Shapes do not fit together: {name_of(node)} ({node.op_type}) gets {data[1]} "
            f"channels, and its weight is for {taken}.",
            hint=_SHAPES,
        )


def check_sources(network: ir.Model) -> None:
    """Raise ModelError when a node takes in a tensor that nothing makes."""
    given = {*network.graph.inputs, *network.graph.initializers.values()}
    for node in network.graph:
        for value in node.inputs:
            if value is not None and value.producer() is None and value not in given:
                raise ModelError(
                    f"Nothing makes tensor '{value.name}', an input of {name_of(node)}.",
                    hint="Export the network again, or cut the node off with --end-node-names.",
                )


def check_interface(network: ir.Model) -> None:
    """Raise ModelError unless there are inputs, and only tensors of numbers go in and out."""
    if not network.graph.inputs:
        raise ModelError(
            "The network has no inputs: it computes a constant.",
            hint="Export it with its input, or check --start-node-names.",
        )
    for role, values in (("Input", network.graph.inputs), ("Output", network.graph.outputs)):
        for value in values:
            _check_tensor(role, value)


def _check_tensor(role: str, value: ir.Value) -> None:
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        raise ModelError(
            f"{role} '{value.name}' is no tensor but {value.type}.",
            hint=f"Only tensors can go in and out; {_CUT}.",
        )
    if value.dtype in _OTHER_FLOATS and role == "Input":
        raise ModelError(
            f"{role} '{value.name}' is {value.dtype}, and float32 is needed.", hint=_FLOAT32
        )
    if value.dtype is ir.DataType.STRING:
        raise ModelError(
            f"{role} '{value.name}' holds strings.",
            hint="Cut the text handling off with --start-node-names or --end-node-names.",
        )


def check_weights(network: ir.Model) -> None:
    """Raise ModelError, naming the initializer, when a weight is NaN, infinite or no float32."""
    for value in network.graph.initializers.values():
        if value.const_value is not None and value.const_value.dtype.is_floating_point():
            _check_weight(value, value.const_value.numpy())


def _check_weight(value: ir.Value, array: NDArray[np.generic]) -> None:
    if array.dtype != np.float32 and array.ndim > 1:
        raise ModelError(
            f"Initializer '{value.name}' is {array.dtype}, and float32 is needed.", hint=_FLOAT32
        )
    wrong = int(array.size - np.isfinite(array).sum())
    nan = bool(np.isnan(array).any())
    if not wrong or (not nan and _is_bound(value)):
        return
    users = ", ".join(sorted(name_of(node) for node in value.consumers()))
    kind = "NaN" if nan else "infinite values"
    raise ModelError(
        f"Initializer '{value.name}' (used by {users}) holds {kind}: {wrong} of {array.size}.",
        hint="The training has diverged or the export went wrong; give sound weights.",
    )


def _is_bound(value: ir.Value) -> bool:
    return all(n.op_type in _MAY_BE_INFINITE for n in value.consumers())
