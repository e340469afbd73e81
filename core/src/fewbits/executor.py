"""The integer executor: what a quantized model computes, stated in plain numpy.

It shares no arithmetic with ONNX Runtime, so that it can be held against the emulator. A tensor
with an encoding is held as integers. Layers accumulate integers exactly and requantize; ops that
only move values move integers; every other op is computed in float from what the integers stand
for, and its result quantized where it has an encoding. It is slow: for tests, not for work.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.bias import bias_encoding
from fewbits.errors import ModelError
from fewbits.graph import MOVING_OPS, Layer, clip_bounds, constant, upper_bounds
from fewbits.integer.rules import Rules, check_width
from fewbits.integer.units import integer_layers, units
from fewbits.integer_ops import accumulate
from fewbits.interfaces import Runnable
from fewbits.model import Encoding, Model, Stage
from fewbits.numerics import dequantize, quantize, requantize
from fewbits.reference import names, run_nodes
from fewbits.targets import Arithmetic
from fewbits.windows import average_pool, max_pool

Values = Mapping[str, NDArray[Any]]

_POOLS = {"AveragePool": average_pool, "MaxPool": max_pool}


class Executor(Runnable):
    """Runs a quantized model node by node.

    Args:
        model: at stage `quantized`.
        arithmetic: of a device that computes in integers alone; its rules are
            `fewbits.integer.rules`.

    Raises:
        ModelError: the model is not quantized, or an op has no rule in integers.
    """

    def __init__(self, model: Model, arithmetic: Arithmetic | None = None) -> None:
        if model.stage.rank < Stage.QUANTIZED.rank:
            raise ModelError(
                f"{model.name} is {model.stage}, not quantized.",
                hint="Run `fewbits optimize` first.",
            )
        self._model = model
        self._encodings = model.encodings
        self._layers = {layer.node: layer for layer in integer_layers(model)}
        fused = [(layer.activation, layer.bound) for layer in self._layers.values()]
        self._done = {node for pair in fused for node in pair if node is not None}
        self._constants = {
            name: self._held(name, np.asarray(constant(value)))
            for name, value in model.graph.initializers.items()
        }
        self._rules = None if arithmetic is None else Rules(model, arithmetic)
        self._steps = tuple(self._programme())

    def _programme(self) -> Iterator[Callable[[Values], dict[str, NDArray[Any]]]]:
        """Yield what is computed in turn, each from what stands already."""
        if self._rules is not None:
            yield from (partial(self._rules.evaluate, unit) for unit in units(self._model))
            return
        for node in self._model.graph:
            if node not in self._done:
                yield partial(self._evaluate, node)

    def run(self, inputs: Values) -> dict[str, NDArray[Any]]:
        """Return output name → array, in real values."""
        values = {**self._constants, **self.trace(inputs)}
        return {name: self._real(name, values) for name in self._model.output_names}

    def trace(self, inputs: Values, given: Values | None = None) -> dict[str, NDArray[Any]]:
        """Return every tensor by name: int64 where it has an encoding, else as it is computed.

        What lies between a layer and the activation fused behind it does not occur.

        Args:
            inputs: input name → array, in real values.
            given: tensor name → integers that later ops read in place of what was computed here,
                so that each op can be judged by itself.
        """
        given = given or {}
        computed: dict[str, NDArray[Any]] = {}
        seen = dict(self._constants)
        for name, x in inputs.items():
            computed[name] = self._entry(name, x)
        seen |= {name: given.get(name, x) for name, x in computed.items()}
        for step in self._steps:
            outputs = step(seen)
            computed |= outputs
            seen |= {name: given.get(name, x) for name, x in outputs.items()}
        return computed

    def _entry(self, name: str, x: NDArray[Any]) -> NDArray[Any]:
        """Return an input as it is held."""
        encoding = self._encodings.get(name)
        if encoding is None or self._rules is None:
            return self._held(name, x)
        return self._rules.entry(x, encoding)

    def _held(self, name: str, x: NDArray[Any]) -> NDArray[Any]:
        """Return a tensor as it is held: in integers where it has an encoding."""
        encoding = self._encodings.get(name)
        return x if encoding is None else quantize(x, encoding)

    def _real(self, name: str, values: Values) -> NDArray[Any]:
        """Return what a held tensor stands for."""
        encoding = self._encodings.get(name)
        return values[name] if encoding is None else dequantize(values[name], encoding)

    def _evaluate(self, node: ir.Node, values: Values) -> dict[str, NDArray[Any]]:
        if node in self._layers:
            layer = self._layers[node]
            return {str(layer.output.name): self._layer(layer, values)}
        if self._moves(node):
            return _moved(node, values, self._model)
        real = {name: self._real(name, values) for name in names(node.inputs)}
        found = _in_float(node, real, self._model)
        return {name: self._held(name, np.asarray(x)) for name, x in found.items()}

    def _moves(self, node: ir.Node) -> bool:
        source, outputs = (list(names(values)) for values in (node.inputs[:1], node.outputs))
        held = [self._encodings.get(name) for name in (*source, *outputs)]
        first = held[0] if held else None
        same = all(first is not None and e is not None and first.equals(e) for e in held)
        return node.op_type in MOVING_OPS and same

    def _layer(self, layer: Layer, values: Values) -> NDArray[Any]:
        """Return `clip(round(s_w · s_a / s_out · (Σ (q_x − z_x) q_w + q_b)) + z_out)`."""
        source = self._encodings[str(layer.input.name)]
        weight = self._encodings[str(layer.weight.name)]
        target = self._encodings.get(str(layer.output.name))
        x = values[str(layer.input.name)] - source.zero_point
        sums = accumulate(layer, x, values[str(layer.weight.name)])
        axis = 1 if layer.op_type.startswith("Conv") else sums.ndim - 1
        step = np.asarray(weight.scale * source.scale, np.float32)
        if step.ndim:  # groups of a ConvTranspose share their scales
            step = np.tile(step, sums.shape[axis] // step.size)
        if layer.bias is not None:
            sums = sums + _along(self._bias(layer, weight, source, values), axis, sums.ndim)
        if source.bits <= 8 and weight.bits <= 8:
            check_width(layer, sums)
        if target is None:
            return np.asarray(sums.astype(np.float32) * _along(step, axis, sums.ndim))
        multiplier = np.asarray(step / target.scale, np.float32)
        return _clipped(requantize(sums, multiplier, target, axis), layer, target)

    def _bias(
        self, layer: Layer, weight: Encoding, source: Encoding, values: Values
    ) -> NDArray[np.int64]:
        """Return a layer's bias in the accumulator's steps, `(out,)`."""
        assert layer.bias is not None
        name = str(layer.bias.name)
        bias = values[name].reshape(-1)
        if name in self._encodings:
            return bias
        return quantize(bias, bias_encoding(weight, source, layer.out_channels, 48))


def _along(parameter: NDArray[Any], axis: int, ndim: int) -> NDArray[Any]:
    shape = [1] * ndim
    shape[axis] = -1
    return parameter.reshape(shape) if parameter.ndim else parameter


def _clipped(q: NDArray[np.int64], layer: Layer, encoding: Encoding) -> NDArray[np.int64]:
    """Keep integers within the bounds of a fused Relu, Clip or Min, and of the encoding."""
    bounds = clip_bounds(layer.activation) if layer.activation is not None else None
    if bounds is not None:
        low, high = quantize(np.clip(np.array(bounds), -1e30, 1e30), encoding)
        q = np.clip(q, low, high)
    tops = upper_bounds(layer.bound) if layer.bound is not None else None
    return q if tops is None else np.minimum(q, quantize(tops, encoding))


def _moved(node: ir.Node, values: Values, model: Model) -> dict[str, NDArray[Any]]:
    """Return a moving op's outputs, in the integers of its input."""
    if node.op_type == "MaxPool":
        (source,), (output,) = names(node.inputs), names(node.outputs)
        return {output: max_pool(values[source], node)}
    return _reference(node, {name: values[name] for name in names(node.inputs)}, model)


def _in_float(node: ir.Node, real: Values, model: Model) -> dict[str, NDArray[Any]]:
    """Return one op's outputs in float."""
    if node.op_type in _POOLS and len(node.outputs) == 1:
        (source,), (output,) = names(node.inputs), names(node.outputs)
        return {output: _POOLS[node.op_type](real[source], node).astype(np.float32)}
    return _reference(node, real, model)


def _reference(node: ir.Node, values: Values, model: Model) -> dict[str, NDArray[Any]]:
    """Run one node by ONNX's reference implementation."""
    if node.op_type == "MaxPool":  # it numbers the indices in another way than the definition
        raise ModelError(
            f"MaxPool '{node.name}' writes indices, which the integer executor does not compute.",
            hint="Cut the network off before it with --end-node-names.",
        )
    return run_nodes(
        [node], dict(values), list(names(node.outputs)), dict(model.graph.opset_imports)
    )
