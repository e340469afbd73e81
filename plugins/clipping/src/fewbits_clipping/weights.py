"""The algorithm `weight_clipping`: outlying weights must not cost all others their precision."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from fewbits.bias import expected_shift
from fewbits.calibration import collect
from fewbits.graph import (
    Layer,
    constant,
    ensure_bias,
    layers,
    set_constant,
    unshare_constants,
)
from fewbits.interfaces import Algorithm, Context, Result
from fewbits.model import Model, Stage
from fewbits.options import Options
from fewbits.provenance import LayerNote, Report
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fewbits_clipping.bounds import clip, clip_to_least_error, percentiles
from fewbits_clipping.selection import chosen_layers


class WeightClippingOptions(Options):
    """Options of `weight_clipping`."""

    layers: tuple[str, ...] = Field(("*",), description="Layers to clip, names or globs.")
    mode: Literal["disabled", "manual", "percentile", "mmse", "mmse_if4b"] = Field(
        "mmse_if4b",
        description="manual: clipping_values are bounds; percentile: percent of the weights; mmse:"
        " the range of least squared error; mmse_if4b: so, if bits is 4 or less.",
    )
    clipping_values: tuple[float, float] = Field(
        (0.01, 99.99), description="Lower and upper end: percent, or bounds when mode=manual."
    )
    bits: int = Field(
        8, ge=2, le=16, description="Bits that these weights will have, for mmse and mmse_if4b."
    )
    bias_correction: bool = Field(
        True,
        description="Add to each bias the mean shift that clipping the layer's weights causes.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> "WeightClippingOptions":
        low, high = self.clipping_values
        if self.mode == "manual" and not low <= 0.0 <= high:
            raise ValueError("the bounds in clipping_values must have 0 between them")
        if self.mode == "percentile" and not 0.0 <= low < high <= 100.0:
            raise ValueError("clipping_values must be percent, the lower end first")
        return self


class WeightClipping(Algorithm):
    """Clips layers' weights to percentiles, to bounds, or to the range of least squared error.

    The fewer outliers, the finer the grid that quantization lays over the rest. Each bias takes up
    what clipping the weights does to the mean of its channel.
    """

    name = "weight_clipping"
    stage = Stage.OPTIMIZED
    needs_calibration = True
    Options = WeightClippingOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the model with clipped weights; the report counts them, layer by layer.

        Raises:
            DataError: there is no calibration data.
            RecipeError: a glob matches no layer.
        """
        chosen = chosen_layers(model, context, self.options.layers, self.name)
        per_channel = context.target.spec.weights == "per_channel"
        clipped: dict[str, NDArray[Any]] = {}
        notes = []
        for layer in layers(model.graph):
            reason = self._reason(layer, chosen)
            if reason:
                notes.append(LayerNote(layer.name, "kept", reason=reason))
                continue
            weight = constant(layer.weight)
            assert weight is not None, "a layer's weight is constant"
            result = self._clip(weight, layer.weight_axis if per_channel else None)
            if not np.array_equal(result, weight):
                clipped[layer.name] = result
            notes.append(_note(layer, weight, result))
        report = _report(tuple(notes))
        shifts = mean_shifts(model, clipped, context) if self.options.bias_correction else {}
        return Result(self._with_weights(model, clipped, shifts), report)

    def _with_weights(
        self, model: Model, weights: Mapping[str, NDArray[Any]], shifts: Mapping[str, NDArray[Any]]
    ) -> Model:
        """Return the model with new weights and biases by layer, each the layer's own."""
        if not weights:
            return model.advance(self.stage)
        network, masks = model.network.clone(), dict(model.masks)
        for copy, name in unshare_constants(network.graph).items():
            if name in masks:
                masks[copy] = masks[name]
        for layer in layers(network.graph):
            if layer.name in weights:
                set_constant(layer.weight, weights[layer.name])
            if layer.name in shifts:
                _shift_bias(network.graph, layer, shifts[layer.name])
        return model.advance(self.stage, network=network, masks=masks)

    def _reason(self, layer: Layer, chosen: set[str]) -> str:
        if self.options.mode == "disabled":
            return "clipping is disabled"
        if self.options.mode == "mmse_if4b" and self.options.bits > 4:
            return f"weights of {self.options.bits} bits need none (mode=mmse_if4b)"
        return "" if layer.name in chosen else "it was not asked for"

    def _clip(self, weight: NDArray[Any], axis: int | None) -> NDArray[Any]:
        low, high = self.options.clipping_values
        if self.options.mode == "manual":
            return clip(weight, (low, high))
        if self.options.mode == "percentile":
            return clip(weight, percentiles(weight, low, high))
        return clip_to_least_error(weight, self.options.bits, axis)


def mean_shifts(
    model: Model, clipped: Mapping[str, NDArray[Any]], context: Context
) -> dict[str, NDArray[np.float64]]:
    """Return what clipped weights take from the mean of each output channel, by layer, `(out,)`.

    `(W − W_c) E[x]` with the float model's means over the calibration data; a MatMul, which has no
    bias to take it up, is left out.
    """
    wanted = {
        layer.name: layer
        for layer in layers(model.graph)
        if layer.name in clipped and layer.op_type != "MatMul"
    }
    names = list(dict.fromkeys(str(layer.input.name) for layer in wanted.values()))
    means = collect(model, names, context, means=names) if names else {}
    shifts = {}
    for name, layer in wanted.items():
        mean = means[str(layer.input.name)].mean
        if mean is not None:
            shifts[name] = _shift(layer, clipped[name], mean)
    return shifts


def _shift(layer: Layer, clipped: NDArray[Any], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    weight = constant(layer.weight)
    assert weight is not None, "a layer's weight is constant"
    difference = weight.astype(np.float64) - clipped
    if layer.op_type == "Gemm" and layer.weight_axis == 1:
        difference = difference.T
    strides = layer.node.attributes.get("strides")
    stride = 1
    if layer.op_type == "ConvTranspose" and strides is not None:
        stride = int(np.prod(strides.as_ints()))
    return expected_shift(difference, mean, layer.op_type, layer.groups, stride)


def _shift_bias(graph: ir.Graph, layer: Layer, shift: NDArray[np.float64]) -> None:
    ensure_bias(graph, layer.node, layer.out_channels)
    value = layer.node.inputs[2]
    bias = constant(value)
    assert value is not None
    assert bias is not None
    set_constant(value, (bias.astype(np.float64) + shift).astype(bias.dtype))


def _note(layer: Layer, before: NDArray[Any], after: NDArray[Any]) -> LayerNote:
    count = int(np.count_nonzero(before != after))
    values = {
        "clipped": count,
        "share": count / before.size,
        "peak": float(np.abs(before).max()),
        "peak_after": float(np.abs(after).max()),
    }
    if count:
        return LayerNote(layer.name, "clipped", values=values)
    return LayerNote(layer.name, "kept", reason="no weight lies outside", values=values)


def _report(notes: tuple[LayerNote, ...]) -> Report:
    count = sum(int(note.values.get("clipped", 0)) for note in notes)
    touched = sum(note.action == "clipped" for note in notes)
    summary = f"Clipped {count:,} weights in {touched} of {len(notes)} layers."
    return Report(touched > 0, summary, notes, {"clipped": count, "layers": touched})
