"""What each unit of a network in integers computes, in plain numpy.

`q` are a tensor's integers, `z` its zero point. Everything that is computed ends in

    q_out = clip(round(v) + z_out, qmin, qmax)        then between the fused activation's bounds

with rounding half to even. `v` is the product of an exact integer and a multiplier: in float32
where all the unit's data have 8 bits, in float64 elsewhere.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbits.bias import bias_encoding
from fewbits.errors import ModelError
from fewbits.graph import Layer, clip_bounds, constant, int_attribute, upper_bounds
from fewbits.integer.chains import tabulate
from fewbits.integer.resizing import resizing
from fewbits.integer.scales import exponentials, factors, layer_multiplier, limited, ratio
from fewbits.integer.units import Unit
from fewbits.integer_ops import accumulate
from fewbits.model import Encoding, Model
from fewbits.numerics import quantize
from fewbits.reference import names, run_nodes
from fewbits.targets import Arithmetic
from fewbits.windows import max_pool, numbers, window

Integers = NDArray[np.int64]
Values = Mapping[str, NDArray[Any]]


class Rules:
    """The rules for one quantized model.

    Args:
        model: at stage `quantized`.
        arithmetic: of the device.
    """

    def __init__(self, model: Model, arithmetic: Arithmetic) -> None:
        self._model = model
        self._arithmetic = arithmetic
        self._opsets = dict(model.graph.opset_imports)
        self._rules: Mapping[str, Callable[[Unit, Values], Integers]] = {
            "layer": self._layer,
            "sum": self._sum,
            "product": self._product,
            "matmul": self._matmul,
            "average": self._average,
            "concat": self._concat,
            "softmax": self._softmax,
            "resize": self._resize,
            "table": self._table,
        }

    def entry(self, x: NDArray[np.floating], encoding: Encoding) -> Integers:
        """Return the integers of a network's input."""
        if not self._arithmetic.zero_point_first:
            return quantize(x, encoding)
        shifted = np.asarray(x, np.float32) / encoding.scale + encoding.zero_point.astype(
            np.float32
        )
        return np.asarray(np.clip(np.rint(shifted), encoding.qmin, encoding.qmax), np.int64)

    def evaluate(self, unit: Unit, values: Values) -> dict[str, NDArray[Any]]:
        """Return what a unit writes, by name.

        Args:
            unit: one of `units(model)`.
            values: the integers of what it reads, by name; other operands as they are.
        """
        if unit.kind == "move":
            return self._moved(unit, values)
        q = self._rules[unit.kind](unit, values)
        return {str(unit.output.name): _bounded(q, unit, self._encoding(unit.output))}

    def _encoding(self, value: Any) -> Encoding:
        return self._model.encodings[str(value.name)]

    def _centred(self, value: Any, values: Values) -> Integers:
        """Return `q − z`."""
        return np.asarray(values[str(value.name)] - self._encoding(value).zero_point, np.int64)

    def _requantized(self, exact: NDArray[Any], m: NDArray[np.float32], unit: Unit) -> Integers:
        kind = np.float64 if self._wide(unit) else np.float32
        return rounded(exact.astype(kind) * m.astype(kind), self._encoding(unit.output))

    def _wide(self, unit: Unit) -> bool:
        return is_wide(unit, self._model.encodings)

    def _layer(self, unit: Unit, values: Values) -> Integers:
        """`v = m · (Σ (q_a − z_a) q_w + q_b)`, `m = s_w · s_a / s_out`."""
        layer = unit.layer
        assert layer is not None
        source, weight = self._encoding(layer.input), self._encoding(layer.weight)
        sums = accumulate(layer, self._centred(layer.input, values), values[str(layer.weight.name)])
        axis = channel_axis(layer, sums.ndim)
        if layer.bias is not None:
            bias = bias_integers(layer, self._model, values[str(layer.bias.name)])
            sums = sums + along(bias, axis, sums.ndim)
        if not self._wide(unit):
            check_width(layer, sums)
        m = layer_multiplier(
            weight, source, self._encoding(unit.output), self._arithmetic.multiplier_bits
        )
        return self._requantized(sums, per_channel(m, layer, axis, sums.ndim), unit)

    def _sum(self, unit: Unit, values: Values) -> Integers:
        """`v = 2^−k (f_a (q_a − z_a) ± f_b (q_b − z_b))`; here `z_out` is added before rounding."""
        target = self._encoding(unit.output)
        weights, shift = factors(
            [self._encoding(v) for v in unit.sources], target, self._arithmetic.factor_bits
        )
        a, b = (self._centred(v, values) for v in unit.sources)
        second = -weights[1] if unit.node.op_type == "Sub" else weights[1]
        exact = (weights[0] * a + second * b).astype(np.float64) * 2.0**-shift
        q = np.rint(exact + float(target.zero_point))
        return np.asarray(np.clip(q, target.qmin, target.qmax), np.int64)

    def _product(self, unit: Unit, values: Values) -> Integers:
        """`v = m (q_a − z_a) (q_b − z_b)`, `m = s_a · s_b / s_out`."""
        a, b = (self._centred(v, values) for v in unit.sources)
        return self._requantized(a * b, self._pair(unit), unit)

    def _matmul(self, unit: Unit, values: Values) -> Integers:
        """`v = m Σ (q_a − z_a) (q_b − z_b)`."""
        a, b = (self._centred(v, values) for v in unit.sources)
        return self._requantized(np.matmul(a, b), self._pair(unit), unit)

    def _pair(self, unit: Unit) -> NDArray[np.float32]:
        a, b = (self._encoding(v) for v in unit.sources)
        bits = self._arithmetic.multiplier_bits
        return layer_multiplier(b, a, self._encoding(unit.output), bits)

    def _average(self, unit: Unit, values: Values) -> Integers:
        """`v = m Σ (q − z)`, `m = s_in / s_out / count`; the count may differ by position."""
        x = self._centred(unit.sources[0], values)
        counts, total = window_sums(unit, x)
        return self._requantized(total, self.average_multiplier(unit, counts), unit)

    def average_multiplier(self, unit: Unit, counts: NDArray[Any]) -> NDArray[np.float32]:
        """Return `s_in / s_out / count`."""
        scale = self._encoding(unit.sources[0]).scale / self._encoding(unit.output).scale
        return limited(
            np.asarray(scale / counts.astype(np.float32), np.float32),
            self._arithmetic.multiplier_bits,
        )

    def _concat(self, unit: Unit, values: Values) -> Integers:
        """`v = m (q − z)` of each part, `m = s_in / s_out`; equal grids are passed on."""
        target, parts = self._encoding(unit.output), []
        for value in unit.sources:
            q, source = values[str(value.name)], self._encoding(value)
            if not source.equals(target):
                m = ratio(source, target, self._arithmetic.multiplier_bits)
                q = self._requantized(self._centred(value, values), m, unit)
            parts.append(q)
        return np.concatenate(parts, int_attribute(unit.node, "axis", 0))

    def _softmax(self, unit: Unit, values: Values) -> Integers:
        """`v = E[max − q] / Σ E[max − q] / s_out`, in float64."""
        target, axis = self._encoding(unit.output), int_attribute(unit.node, "axis", -1)
        q = values[str(unit.sources[0].name)]
        table = exponentials(self._encoding(unit.sources[0]), self._arithmetic.exponential_bits)
        share = table[q.max(axis=axis, keepdims=True) - q].astype(np.float64)
        share = share / share.sum(axis=axis, keepdims=True)
        return rounded(share / target.scale.astype(np.float64), target)

    def _resize(self, unit: Unit, values: Values) -> Integers:
        """`v = m · resize(q − z)`; the weights of a doubling are powers of two, so it is exact."""
        how = resizing(unit.node)
        assert how is not None
        exact = how.apply(self._centred(unit.sources[0], values).astype(np.float64))
        m = ratio(
            self._encoding(unit.sources[0]),
            self._encoding(unit.output),
            self._arithmetic.multiplier_bits,
        )
        return self._requantized(exact, m, unit)

    def _table(self, unit: Unit, values: Values) -> Integers:
        """`q_out = T[q]`."""
        assert unit.chain is not None
        source, target = self._encoding(unit.sources[0]), self._encoding(unit.output)
        table = tabulate(unit.chain, source, target, self._opsets)
        return table.look_up(values[str(unit.sources[0].name)])

    def _moved(self, unit: Unit, values: Values) -> dict[str, NDArray[Any]]:
        """Return a moving op's outputs; what a Pad adds is the zero point."""
        (source,) = unit.sources
        outputs = list(names(unit.node.outputs))
        if unit.node.op_type == "MaxPool":
            return {outputs[0]: max_pool(values[str(source.name)], unit.node)}
        if unit.node.op_type == "Resize":
            how = resizing(unit.node)
            assert how is not None
            return {outputs[0]: how.apply(values[str(source.name)])}
        zero = self._encoding(source).zero_point
        given = {str(source.name): self._centred(source, values)}
        others = {n: values[n] for n in names(unit.node.inputs[1:]) if n in values}
        found = run_nodes([unit.node], others | given, outputs, self._opsets)
        return {name: x.astype(np.int64) + zero for name, x in found.items()}


def is_wide(unit: Unit, encodings: Mapping[str, Encoding]) -> bool:
    """Whether any of a unit's data has more than 8 bits."""
    data = [unit.output, *unit.sources, *([unit.layer.weight] if unit.layer else [])]
    return any(encodings[str(value.name)].bits > 8 for value in data)


def rounded(v: NDArray[np.floating], encoding: Encoding) -> Integers:
    """Return `clip(round(v) + z, qmin, qmax)`."""
    q = np.rint(v) + encoding.zero_point
    return np.asarray(np.clip(q, encoding.qmin, encoding.qmax), np.int64)


def bounds(unit: Unit, encoding: Encoding) -> tuple[int, NDArray[np.int64]]:
    """Return the least integer that a unit's activation leaves, and the largest ones."""
    low, high = encoding.qmin, np.asarray(encoding.qmax, np.int64)
    clip = clip_bounds(unit.activation) if unit.activation is not None else None
    if clip is not None:
        ends = quantize(np.clip(np.array(clip), -1e30, 1e30), encoding)
        low, high = int(ends[0]), ends[1]
    tops = upper_bounds(unit.bound) if unit.bound is not None else None
    return low, high if tops is None else np.minimum(high, quantize(tops, encoding))


def _bounded(q: Integers, unit: Unit, encoding: Encoding) -> Integers:
    return np.clip(q, *bounds(unit, encoding))


def channel_axis(layer: Layer, ndim: int) -> int:
    """Return the axis of a layer's output channels."""
    return 1 if layer.op_type.startswith("Conv") else ndim - 1


def along(parameter: NDArray[Any], axis: int, ndim: int) -> NDArray[Any]:
    """Reshape `(channels,)` so that it broadcasts along an axis."""
    shape = [1] * ndim
    shape[axis] = -1
    return parameter.reshape(shape) if parameter.ndim else parameter


def per_channel(m: NDArray[Any], layer: Layer, axis: int, ndim: int) -> NDArray[Any]:
    """Reshape a layer's multipliers; groups of a ConvTranspose share theirs."""
    spread = np.tile(m, layer.out_channels // m.size) if m.ndim else m
    return along(spread, axis, ndim)


def bias_integers(layer: Layer, model: Model, bias: NDArray[Any]) -> Integers:
    """Return a layer's bias in the accumulator's steps, `(out,)`."""
    assert layer.bias is not None
    if layer.bias.name in model.encodings:
        return bias.reshape(-1).astype(np.int64)
    held = model.encodings
    weight, source = held[str(layer.weight.name)], held[str(layer.input.name)]
    return quantize(bias.reshape(-1), bias_encoding(weight, source, layer.out_channels, 48))


def check_width(layer: Layer, sums: Integers) -> None:
    """Refuse sums that a 32-bit accumulator would not hold."""
    if sums.size and max(int(sums.max()), -int(sums.min()) - 1) >= 2**31:
        raise ModelError(
            f"The accumulator of layer '{layer.name}' overflows 32 bits.",
            hint="Quantize this layer with wider scales, or with 16 bits.",
        )


def window_sums(unit: Unit, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the number of elements in each window of an average, and their sum.

    Args:
        unit: AveragePool, GlobalAveragePool or ReduceMean.
        x: `(n, c, *spatial)`; any shape for ReduceMean.
    """
    node = unit.node
    if node.op_type != "AveragePool":
        axes, keep = mean_axes(unit, x.ndim)
        total = x.sum(axis=axes, keepdims=keep)
        return np.asarray(np.prod([x.shape[axis] for axis in axes])), total
    place = window(node, numbers(node, "kernel_shape", ()), x.shape[2:])
    include = int_attribute(node, "count_include_pad", 0)
    counted = place.extend(place.surround(np.ones((1, 1, *x.shape[2:])), include))
    over = tuple(range(-len(place.kernel), 0))
    return place.slide(counted).sum(axis=over), place.slide(place.pad(x)).sum(axis=over)


def mean_axes(unit: Unit, ndim: int) -> tuple[tuple[int, ...], bool]:
    """Return the axes that a GlobalAveragePool or ReduceMean averages, and whether they stay."""
    node = unit.node
    if node.op_type == "GlobalAveragePool":
        return tuple(range(2, ndim)), True
    given = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    axes = numbers(node, "axes", tuple(range(ndim)))
    if given is not None:
        axes = tuple(int(axis) for axis in given)
    return tuple(axis % ndim for axis in axes), bool(int_attribute(node, "keepdims", 1))
