"""A quantized layer by itself, in front of the rounding of its outputs: their means, samples.

Integers go in, and what comes out is real: rounding would hide how far a channel is off that moves
by less than a step of it.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
from fewbits.graph import Layer, add_constant, clip_bounds, upper_bounds
from fewbits.model import Encoding
from fewbits.numerics import dequantize
from fewbits.outputmeans import column_means, output_means
from fewbits.runtime import Session
from fewbits.walk import Visit
from numpy.typing import NDArray

from fewbits_ibc.shift import Response

Array = NDArray[np.float64]
Bounds = tuple[NDArray[np.float32], NDArray[np.float32]]

#: positions of a sample that a response looks at.
POSITIONS = 64


def is_clipped(layer: Layer) -> bool:
    """Whether an activation is fused behind a layer."""
    return layer.activation is not None or layer.bound is not None


def product_mean(visit: Visit) -> Array:
    """Return `W_q·E[x̂]`, what a quantized layer has in the mean before its bias, `(out,)`."""
    columns = column_means(visit.layer, visit.source)
    return output_means(visit.layer, visit.weight, columns)


def clipped_mean(visit: Visit, bias: NDArray[np.floating], threads: int | None) -> Array:
    """Return `E[f(W_q·x̂ + b)]` over all samples and positions, computed in the runtime, `(out,)`.

    Args:
        visit: a layer with an activation.
        bias: `b`, `(out,)`.
        threads: threads of the runtime.
    """
    total, count = np.zeros(len(bias)), 0
    for rows in _run(visit, bias, bounds(visit), threads):
        flat = rows.reshape(-1, len(bias))
        total += flat.sum(axis=0, dtype=np.float64)
        count += len(flat)
    return total / count


def respond(
    visit: Visit, bias: NDArray[np.floating], head: int, threads: int | None
) -> tuple[Array, Response]:
    """Return `E[f(z)]` of the first samples, `(out,)`, and how it answers to the bias.

    Args:
        visit: a layer with an activation.
        bias: `b`, `(out,)`.
        head: how many samples.
        threads: threads of the runtime.
    """
    limits = bounds(visit)
    low, high = (np.broadcast_to(b, len(bias)).reshape(-1, 1) for b in limits)
    total, count, parts = np.zeros(len(bias)), 0, []
    for z in _run(visit, bias, None, threads):
        z = z[: max(len(z) * (head - count) // len(z), 0)] if count + len(z) > head else z
        count += len(z)
        flat = np.moveaxis(z.reshape(len(z), len(bias), -1), 1, 0)
        clipped = np.clip(flat, low[..., None], high[..., None])
        total += clipped.mean(axis=2, dtype=np.float64).sum(axis=1)
        step = max(flat.shape[2] // POSITIONS, 1)
        parts.append(flat[:, :, ::step].reshape(len(bias), -1))
        if count >= head:
            break
    samples = np.concatenate(parts, axis=1)
    return total / count, Response(samples, low, high)


def bounds(visit: Visit) -> Bounds:
    """Return what gets through a layer's activation and its encoding; one, or `(out,)`, each."""
    layer = visit.layer
    low, high = np.array(-np.inf), np.array(np.inf)
    found = None if layer.activation is None else clip_bounds(layer.activation)
    if found is not None:
        low, high = (np.array(bound, np.float64) for bound in found)
    tops = None if layer.bound is None else upper_bounds(layer.bound)
    if tops is not None:
        high = np.minimum(high, tops.astype(np.float64).ravel())
    least, most = _range(visit.output_encoding)
    return np.maximum(low, least).astype(np.float32), np.minimum(high, most).astype(np.float32)


def _range(encoding: Encoding | None) -> tuple[float, float]:
    if encoding is None:
        return -np.inf, np.inf
    ends = dequantize(np.array([encoding.qmin, encoding.qmax]), encoding)
    return float(ends[0]), float(ends[1])


def _run(
    visit: Visit, bias: NDArray[np.floating], limits: Bounds | None, threads: int | None
) -> Iterator[NDArray[np.float32]]:
    """Yield, batch by batch, `z`, or with limits the mean of each sample's channels behind them."""
    session = None
    for stored in visit.source.batches():
        session = session or Session(_network(visit, bias, limits, stored), threads=threads)
        yield next(iter(session.run({"x": stored}).values()))


def _network(
    visit: Visit, bias: NDArray[np.floating], limits: Bounds | None, stored: NDArray[Any]
) -> ir.Model:
    """Return the layer as a network of its own; positions are averaged where there are limits."""
    node, dims = visit.layer.node, stored.ndim
    source = ir.Value(
        name="x",
        shape=ir.Shape([None, *stored.shape[1:]]),
        type=ir.TensorType(ir.DataType.from_numpy(stored.dtype)),
    )
    graph = ir.Graph([source], [], nodes=[], opset_imports={"": 21}, name="layer")
    real = _restored(graph, source, visit.source.encoding, stored.dtype)
    weight = add_constant(graph, "weight", visit.weight)
    held = add_constant(graph, "bias", bias.astype(np.float32))
    made = _append(graph, node.op_type, [real, weight, held], dict(node.attributes))
    if limits is not None:
        made = _clip(graph, made, limits, dims)
        made = _append(graph, "GlobalAveragePool", [made]) if dims > 2 else made
    graph.outputs.append(made)
    return ir.Model(graph, ir_version=10)


def _restored(
    graph: ir.Graph, source: ir.Value, encoding: Encoding | None, dtype: np.dtype[Any]
) -> ir.Value:
    if encoding is None:
        return source
    scale = add_constant(graph, "scale", np.asarray(encoding.scale, np.float32))
    zero_point = add_constant(graph, "zero_point", np.asarray(encoding.zero_point, dtype))
    return _append(graph, "DequantizeLinear", [source, scale, zero_point])


def _clip(graph: ir.Graph, value: ir.Value, limits: Bounds, dims: int) -> ir.Value:
    low, high = limits
    top = add_constant(graph, "high", np.asarray(high.max(), np.float32))
    bottom = add_constant(graph, "low", np.asarray(low.max(), np.float32))
    made = _append(graph, "Clip", [value, bottom, top])
    if high.size == 1:
        return made
    tops = add_constant(graph, "tops", high.reshape(-1, *(1,) * (dims - 2)))
    return _append(graph, "Min", [made, tops])


def _append(
    graph: ir.Graph,
    op: str,
    inputs: list[ir.Value],
    attributes: dict[str, ir.Attr] | None = None,
) -> ir.Value:
    node = ir.node(op, inputs, attributes=attributes or {})
    graph.append(node)
    node.outputs[0].name = f"y{len(graph)}"
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    return node.outputs[0]
