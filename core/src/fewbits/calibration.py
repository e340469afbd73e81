"""Streaming statistics of activations, computed inside the graph and merged batch by batch.

Whole activations never leave the runtime: extremes come from pooling ops, which ONNX Runtime
keeps in its blocked layout, and histograms from an evenly spaced sample of each tensor.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.errors import DataError, ModelError
from fewbits.graph import add_constant, clip_bounds, constant, rank
from fewbits.histogram import Histogram
from fewbits.interfaces import Context
from fewbits.model import Model
from fewbits.runtime import Session

SAMPLES_PER_IMAGE = 4096


@dataclass(frozen=True)
class TensorStatistics:
    """What is known of one tensor's values over the calibration samples.

    Args:
        low: smallest value, at most 0.
        high: largest value, at least 0.
        count: how many calibration samples were seen.
        histogram: of an evenly spaced sample of the values, or None.
        mean: mean of each channel (axis 1), float64, `(channels,)`, or None.
    """

    low: float
    high: float
    count: int
    histogram: Histogram | None = None
    mean: NDArray[np.float64] | None = None

    def merge(self, other: "TensorStatistics") -> "TensorStatistics":
        """Return the statistics of both sets of samples."""
        histogram = self.histogram
        if histogram is not None and other.histogram is not None:
            histogram = histogram.merge(other.histogram)
        count = self.count + other.count
        mean = self.mean
        if mean is not None and other.mean is not None:
            mean = (mean * self.count + other.mean * other.count) / count
        low, high = min(self.low, other.low), max(self.high, other.high)
        return TensorStatistics(low, high, count, histogram, mean)


@dataclass(frozen=True)
class _Tap:
    """Names of the extra outputs that watch one tensor; None where nothing needs watching."""

    low: str | None
    high: str
    sample: str | None
    mean: str | None

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names that are there."""
        return tuple(n for n in (self.low, self.high, self.sample, self.mean) if n is not None)


def collect(
    model: Model,
    names: Iterable[str],
    context: Context,
    *,
    histograms: bool = False,
    means: Collection[str] = (),
) -> dict[str, TensorStatistics]:
    """Run the calibration data through a model once and return statistics by tensor name.

    Args:
        model: the network; it is not changed.
        names: tensors to watch: graph inputs, initializers, node outputs.
        context: gives the data, the batch size, threads and progress.
        histograms: whether to sample values too; about a fifth more time.
        means: those of `names` whose mean per channel is wanted; their channels lie on axis 1.

    Raises:
        DataError: there is no calibration data.
        ModelError: a tensor does not exist, or takes a value that is not finite.
    """
    dataset = context.need_calibration("Calibration")
    network = model.network.clone()
    values = values_by_name(network.graph)
    watched = [_value(values, name) for name in names]
    fixed = {v: array for v in watched if (array := constant(v)) is not None}
    taps = {
        str(v.name): _attach(network.graph, v, histograms, v.name in means)
        for v in watched
        if v not in fixed
    }
    found = {
        str(v.name): statistics_of(a, a, a if histograms else None, 0) for v, a in fixed.items()
    }
    if not taps:
        return found
    outputs = list(dict.fromkeys(name for tap in taps.values() for name in tap.outputs))
    session = Session(network, threads=context.threads, outputs=outputs)
    batches = dataset.batches(context.batch_size)
    for batch in context.track(batches, "calibrate", len(dataset), "images"):
        seen = session.run(batch.inputs)
        for name, tap in taps.items():
            part = _of_batch(name, tap, seen, len(batch))
            found[name] = found[name].merge(part) if name in found else part
    if not len(dataset):
        raise DataError("The calibration data is empty.", hint="Give at least one sample.")
    return found


def values_by_name(graph: ir.Graph) -> dict[str, ir.Value]:
    """Return every value of a graph by its name."""
    values = [*graph.inputs, *graph.initializers.values()]
    values += [v for node in graph for v in node.outputs]
    return {str(v.name): v for v in values}


def _value(values: Mapping[str, ir.Value], name: str) -> ir.Value:
    if name not in values:
        raise ModelError(f"The network has no tensor '{name}'.", hint="See `fewbits info`.")
    return values[name]


def _attach(graph: ir.Graph, value: ir.Value, histograms: bool, with_mean: bool) -> _Tap:
    """Add the ops that watch a tensor, and their outputs, to the graph."""
    dims = rank(value)
    if dims is None or dims < 2:
        whole = _watch(graph, "Identity", [value])
        return _Tap(whole, whole, whole if histograms else None, None)
    axes = np.arange(2 if dims >= 3 else 1, dims)
    low = None if _never_negative(value) else _reduce(graph, "ReduceMin", value, axes)
    pooled = dims >= 3
    high = (
        _watch(graph, "GlobalMaxPool", [value])
        if pooled
        else _reduce(graph, "ReduceMax", value, axes)
    )
    mean = (
        _watch(graph, "GlobalAveragePool" if pooled else "Identity", [value]) if with_mean else None
    )
    return _Tap(low, high, _sample(graph, value) if histograms else None, mean)


def _never_negative(value: ir.Value) -> bool:
    producer = value.producer()
    if producer is None or producer.op_type not in ("Relu", "Clip"):
        return False
    bounds = clip_bounds(producer)
    return bounds is not None and bounds[0] >= 0.0


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


def _reduce(graph: ir.Graph, op: str, value: ir.Value, axes: NDArray[np.int64]) -> str:
    constant_axes = add_constant(graph, f"fewbits.{op}.axes.{value.name}", axes)
    return _watch(graph, op, [value, constant_axes], {"keepdims": 0})


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


def _of_batch(
    name: str, tap: _Tap, seen: Mapping[str, NDArray[Any]], count: int
) -> TensorStatistics:
    low = seen[tap.low] if tap.low else np.zeros(1, np.float32)
    high = seen[tap.high]
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ModelError(
            f"Tensor '{name}' takes values that are not finite on the calibration data.",
            hint="Check the preprocessing (mean, std, channel order) and the network in float.",
        )
    sample = seen[tap.sample] if tap.sample else None
    found = statistics_of(low, high, sample, count)
    if tap.mean is None:
        return found
    return replace(found, mean=seen[tap.mean].reshape(count, -1).mean(axis=0, dtype=np.float64))


def statistics_of(
    low: NDArray[Any], high: NDArray[Any], sample: NDArray[Any] | None, count: int
) -> TensorStatistics:
    """Return the statistics of arrays that hold the extremes, and of a sample of the values."""
    return TensorStatistics(
        min(float(low.min()), 0.0),
        max(float(high.max()), 0.0),
        count,
        None if sample is None else Histogram.of(sample),
    )
