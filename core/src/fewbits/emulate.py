"""A quantized model as QDQ ONNX: the emulator, and what the `cpu` target compiles to.

ONNX Runtime fuses the QuantizeLinear and DequantizeLinear nodes with the ops between them into
its integer kernels. 4-bit weights travel as 8-bit integers of a smaller range.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.errors import ModelError
from fewbits.graph import (
    add_constant,
    clip_bounds,
    constant,
    layers,
    only_reader,
    set_constant,
    upper_bounds,
    values_by_name,
)
from fewbits.model import Encoding, Model, Stage
from fewbits.numerics import quantize
from fewbits.qdq_pools import settle_average_pools

_STORAGE = {
    (8, True): np.int8,
    (8, False): np.uint8,
    (16, True): np.int16,
    (16, False): np.uint16,
    (32, True): np.int32,
}


def to_qdq(model: Model, *, unsigned_weights: bool = False) -> ir.Model:
    """Write a quantized model with explicit QuantizeLinear and DequantizeLinear nodes.

    Args:
        model: at stage `quantized`; it is not changed.
        unsigned_weights: store 8-bit weights as unsigned integers with zero point 128, for
            processors whose u8·s8 products saturate.

    Raises:
        ModelError: the model is not quantized.
    """
    if model.stage.rank < Stage.QUANTIZED.rank:
        raise ModelError(
            f"{model.name} is {model.stage}, not quantized.", hint="Run `fewbits optimize` first."
        )
    network = model.network.clone()
    graph = network.graph
    encodings = {**model.encodings, **_settle_bounds(graph, model.encodings)}
    _drop_implied_activations(graph, encodings)
    encodings |= settle_average_pools(graph, encodings)
    values = values_by_name(graph)
    widened = _weights_of_wide_products(graph, encodings)
    for name, value in values.items():
        encoding = encodings.get(name)
        if encoding is None:
            continue
        if constant(value) is not None:
            dtype = np.dtype(np.int16) if name in widened else storage_type(encoding)
            _store(graph, value, encoding, dtype, unsigned=unsigned_weights)
        else:
            insert_qdq(graph, value, encoding)
    graph.sort()
    return network


def storage_type(encoding: Encoding) -> np.dtype[np.generic]:
    """Return the numpy type that holds an encoding's integers."""
    width = next(w for w in (8, 16, 32, 64) if encoding.bits <= w)
    return np.dtype(_STORAGE.get((width, encoding.signed), np.int64))


def _weights_of_wide_products(graph: ir.Graph, encodings: Mapping[str, Encoding]) -> set[str]:
    """Name the 8-bit weights that MatMul and Gemm multiply with wider activations.

    ONNX Runtime turns these ops on dequantized 8-bit weights into MatMulNBits, which rounds the
    activations to 8 bits on its way. It leaves 16-bit weights alone.
    """
    found = set()
    for node in graph:
        if node.op_type in ("MatMul", "Gemm"):
            names = [str(value.name) for value in node.inputs[:2] if value is not None]
            source, weight = (encodings.get(name) for name in names)
            if source is not None and weight is not None and weight.bits <= 8 < source.bits:
                found.add(names[1])
    return found


def _store(
    graph: ir.Graph,
    value: ir.Value,
    encoding: Encoding,
    dtype: np.dtype[np.generic],
    *,
    unsigned: bool,
) -> None:
    """Replace a constant by its integers and a DequantizeLinear."""
    array = np.asarray(constant(value))
    if encoding.bits > 32:
        encoding, dtype = _exact_in_32_bits(array), np.dtype(np.int32)
    if unsigned and dtype == np.int8:
        dtype = np.dtype(np.uint8)
    integers, zero_point = _integers(array, encoding, dtype)
    stored = add_constant(graph, f"{value.name}.quantized", integers)
    name = f"{value.name}.dequantized"
    node = _qdq_node(graph, "DequantizeLinear", stored, encoding, zero_point, name)
    _hand_over(value, node.outputs[0])
    del graph.initializers[str(value.name)]


def _integers(
    array: NDArray[np.generic], encoding: Encoding, dtype: np.dtype[np.generic]
) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """Return a constant's integers and zero point; signed bytes may travel as unsigned ones."""
    offset = 128 if encoding.signed and dtype == np.uint8 else 0
    integers = quantize(array.astype(np.float64), encoding) + offset
    return integers.astype(dtype), (encoding.zero_point + offset).astype(dtype)


def restore_constant(
    network: ir.Model, name: str, array: NDArray[np.floating], encoding: Encoding
) -> None:
    """Give a constant of what `to_qdq` wrote new contents, in place.

    Args:
        network: with QuantizeLinear and DequantizeLinear nodes.
        name: the constant's name in the quantized model.
        array: real values on the encoding's grid.
        encoding: of the same bits and granularity as before.
    """
    held = network.graph.initializers
    stored = held[f"{name}.quantized"]
    dtype = np.dtype(np.asarray(constant(stored)).dtype)
    if encoding.bits > 32:
        encoding = _exact_in_32_bits(array)
    integers, zero_point = _integers(array, encoding, dtype)
    set_constant(stored, integers)
    set_constant(held[f"{name}.quantized.DequantizeLinear.scale"], encoding.scale)
    set_constant(held[f"{name}.quantized.DequantizeLinear.zero_point"], zero_point)


def _exact_in_32_bits(bias: NDArray[np.generic]) -> Encoding:
    """Return an int32 encoding, its scales powers of two, that holds float32 values exactly.

    A wide bias cannot stay float: ONNX Runtime rounds a float bias behind integer weights to int32
    at `s_w · s_a`, which saturates when both have 16 bits.
    """
    _, exponent = np.frexp(bias.astype(np.float64))
    scale = np.ldexp(1.0, np.maximum(exponent - 24, -126)).astype(np.float32)
    return Encoding(32, True, scale, np.zeros(scale.shape, np.int64), 0)


def insert_qdq(graph: ir.Graph, value: ir.Value, encoding: Encoding) -> None:
    """Put QuantizeLinear and DequantizeLinear behind an activation, in place.

    Its integers are then called `NAME.quantized`. An output of the graph keeps its name for what
    comes out of the two.

    Args:
        graph: the graph; it must be sorted afterwards.
        value: the activation.
        encoding: how it is represented.
    """
    zero_point = encoding.zero_point.astype(storage_type(encoding))
    name = str(value.name)
    leaves = value.is_graph_output()
    uses = [(use.node, use.idx) for use in value.uses()]
    source = _within(graph, value, encoding)
    quantized = _qdq_node(
        graph, "QuantizeLinear", source, encoding, zero_point, f"{name}.quantized"
    )
    restored = _qdq_node(
        graph,
        "DequantizeLinear",
        quantized.outputs[0],
        encoding,
        zero_point,
        f"{name}.dequantized",
    )
    restored.outputs[0].shape, restored.outputs[0].type = value.shape, value.type
    for node, index in uses:
        node.replace_input_with(index, restored.outputs[0])
    if leaves:
        value.name = f"{name}.float"
        restored.outputs[0].name = name
        graph.outputs[list(graph.outputs).index(value)] = restored.outputs[0]


def _within(graph: ir.Graph, value: ir.Value, encoding: Encoding) -> ir.Value:
    """Clip a value to an encoding's range where the type of its integers reaches further."""
    if encoding.bits in (8, 16):
        return value
    ends = (
        add_constant(graph, f"{value.name}.{end}", np.asarray(bound, np.float32))
        for end, bound in (("low", encoding.low), ("high", encoding.high))
    )
    node = ir.node("Clip", [value, *ends], name=f"{value.name}.within")
    node.outputs[0].name = f"{value.name}.within"
    node.outputs[0].shape, node.outputs[0].type = value.shape, value.type
    graph.append(node)
    return node.outputs[0]


def _qdq_node(
    graph: ir.Graph,
    op: str,
    source: ir.Value,
    encoding: Encoding,
    zero_point: NDArray[np.generic],
    output: str,
) -> ir.Node:
    """Append a QuantizeLinear or DequantizeLinear with its scale and zero point."""
    scale = np.asarray(encoding.scale, np.float32)
    inputs = [
        source,
        add_constant(graph, f"{source.name}.{op}.scale", scale),
        add_constant(graph, f"{source.name}.{op}.zero_point", np.asarray(zero_point)),
    ]
    attributes = {} if encoding.axis is None else {"axis": encoding.axis}
    node = ir.node(op, inputs, attributes=attributes, name=f"{source.name}.{op}")
    node.outputs[0].name = output
    graph.append(node)
    return node


def _hand_over(old: ir.Value, new: ir.Value) -> None:
    new.shape, new.type = old.shape, old.type
    for use in list(old.uses()):
        use.node.replace_input_with(use.idx, new)


def _settle_bounds(graph: ir.Graph, encodings: Mapping[str, Encoding]) -> dict[str, Encoding]:
    """Remove each Min fused behind a layer whose bounds the encoding implies.

    Returns:
        For each Min that stays, the encoding of what it reads: ONNX Runtime wants one right
        behind a layer, and saturation and bounds may come in either order.
    """
    added = {}
    for layer in list(layers(graph)):
        encoding = encodings.get(str(layer.output.name))
        if layer.bound is None or encoding is None:
            continue
        source, bounds = (layer.activation or layer.node).outputs[0], upper_bounds(layer.bound)
        if bounds is not None and (quantize(bounds, encoding) == encoding.qmax).all():
            _bypass(graph, layer.bound, source, layer.output)
        else:
            added[str(source.name)] = encoding
    return added


def _drop_implied_activations(graph: ir.Graph, encodings: Mapping[str, Encoding]) -> None:
    """Remove each Relu and Clip whose bounds the encoding behind it implies.

    What lies outside the encoding's range saturates to the same integers with or without it.
    """
    for node in list(graph):
        if node.op_type not in ("Relu", "Clip"):
            continue
        source, output = node.inputs[0], node.outputs[0]
        encoding = encodings.get(str(output.name))
        if source is None or source.producer() is None:
            continue
        if encoding is None or source.name in encodings:
            continue
        if only_reader(source) is node and _implied(clip_bounds(node), encoding):
            _bypass(graph, node, source, output)


def _implied(bounds: tuple[float, float] | None, encoding: Encoding) -> bool:
    """Whether the bounds quantize to the ends of the integer range, so clipping adds nothing."""
    if bounds is None:
        return False
    ends = quantize(np.clip(np.array(bounds), -1e30, 1e30), encoding)
    return bool(ends[0] == encoding.qmin and ends[1] == encoding.qmax)


def _bypass(graph: ir.Graph, node: ir.Node, source: ir.Value, output: ir.Value) -> None:
    """Remove a node; its input takes over its output's name, readers and place."""
    name = str(output.name)
    for use in list(output.uses()):
        use.node.replace_input_with(use.idx, source)
    if output.is_graph_output():
        graph.outputs[list(graph.outputs).index(output)] = source
    graph.remove(node, safe=True)
    output.name = None
    source.name = name
