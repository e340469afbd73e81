"""Extra graph outputs that watch tensors: extremes, samples and means, computed in the runtime."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from fewbits.graph import add_constant, clip_bounds, rank, upper_bounds

SAMPLES_PER_IMAGE = 4096


@dataclass(frozen=True)
class Wanted:
    """What is to be known of the tensors of a graph.

    Args:
        names: tensors whose extremes are wanted.
        histograms: whether to sample their values too.
        means: those whose mean per channel is wanted.
        channels: those whose extremes are wanted for each channel.
        lows: those whose smallest values are wanted even if nothing below zero gets through.
        settled: those whose extremes are known already.
    """

    names: tuple[str, ...]
    histograms: bool = False
    means: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()
    lows: frozenset[str] = frozenset()
    settled: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Tap:
    """Names of the outputs that watch one tensor; None where nothing needs watching."""

    low: str | None = None
    high: str | None = None
    sample: str | None = None
    mean: str | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names that are there."""
        return tuple(n for n in (self.low, self.high, self.sample, self.mean) if n is not None)


def attach(graph: ir.Graph, value: ir.Value, wanted: Wanted) -> Tap:
    """Add the ops that watch a tensor, and their outputs, to a graph.

    Extremes keep batch and channels, `(batch, channels, …)`, where the tensor has them; pooling
    ops give them, which ONNX Runtime computes in its blocked layout.

    Args:
        graph: the graph, which is changed.
        value: the tensor.
        wanted: what is to be known of it.
    """
    name, dims = str(value.name), rank(value)
    if dims is None or dims < 3:
        whole = _watch(graph, "Identity", [value])
        return Tap(whole, whole, whole if wanted.histograms else None, whole)
    low = high = None
    if name not in wanted.settled:
        high = _watch(graph, "GlobalMaxPool", [value])
        if name in wanted.lows or not never_negative(value):
            low = _lowest(graph, value, dims)
    mean = _watch(graph, "GlobalAveragePool", [value]) if name in wanted.means else None
    return Tap(low, high, _sample(graph, value) if wanted.histograms else None, mean)


def upper_bound(value: ir.Value) -> float:
    """Return the largest value that the op before a tensor lets through; infinity if unknown."""
    bounds = _bounds(value)
    return np.inf if bounds is None else bounds[1]


def never_negative(value: ir.Value) -> bool:
    """Whether the op before a tensor lets nothing below zero through."""
    bounds = _bounds(value)
    return bounds is not None and bounds[0] >= 0.0


def _bounds(value: ir.Value) -> tuple[float, float] | None:
    producer = value.producer()
    if producer is not None and producer.op_type == "Min":
        return _bounds_of_min(producer)
    if producer is None or producer.op_type not in ("Relu", "Clip"):
        return None
    return clip_bounds(producer)


def _bounds_of_min(node: ir.Node) -> tuple[float, float] | None:
    tops = upper_bounds(node)
    sources = [_bounds(v) for v in node.inputs if v is not None and v.producer() is not None]
    if tops is None or not sources or sources[0] is None:
        return None
    low, high = sources[0]
    return min(low, float(tops.min())), min(high, float(tops.max()))


def _append(
    graph: ir.Graph, op: str, inputs: list[ir.Value], attributes: Mapping[str, Any] | None = None
) -> ir.Value:
    node = ir.node(op, inputs, attributes=attributes or {})
    graph.append(node)
    node.outputs[0].name = f"fewbits.{op}.{inputs[0].name}"
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    return node.outputs[0]


def _watch(
    graph: ir.Graph, op: str, inputs: list[ir.Value], attributes: Mapping[str, Any] | None = None
) -> str:
    output = _append(graph, op, inputs, attributes)
    graph.outputs.append(output)
    return str(output.name)


def _lowest(graph: ir.Graph, value: ir.Value, dims: int) -> str:
    axes = add_constant(graph, f"fewbits.axes.{value.name}", np.arange(2, dims))
    return _watch(graph, "ReduceMin", [value, axes], {"keepdims": 0})


def _sample(graph: ir.Graph, value: ir.Value) -> str:
    """Pick evenly spaced values, about `SAMPLES_PER_IMAGE` for each sample of the batch."""
    dims = [d if isinstance(d, int) else 1 for d in value.shape or ()][1:]
    excess = max(int(np.prod(dims, dtype=np.int64)) // SAMPLES_PER_IMAGE, 1)
    if len(dims) == 3:
        step = _odd(min(round(excess**0.5), *dims[1:]))
        return _watch(graph, "MaxPool", [value], {"kernel_shape": [1, 1], "strides": [step, step]})
    flat = _append(graph, "Flatten", [value], {"axis": 1})
    bounds = (("start", 0), ("end", np.iinfo(np.int64).max), ("axis", 1), ("step", _odd(excess)))
    slices = [
        add_constant(graph, f"fewbits.{key}.{value.name}", np.array([number], np.int64))
        for key, number in bounds
    ]
    return _watch(graph, "Slice", [flat, *slices])


def _odd(step: int) -> int:
    """Return an odd step of about this size, so that it does not beat with even strides."""
    return max(step - (step % 2 == 0), 1)
