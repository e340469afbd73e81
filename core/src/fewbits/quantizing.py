"""Uniform grids for a whole network: statistics once, then any choice of precision modes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from fewbits.calibration import TensorStatistics, collect
from fewbits.data import take
from fewbits.errors import TargetError
from fewbits.graph import (
    Layer,
    constant,
    ensure_bias,
    flatten_biases,
    layers,
    unshare_constants,
)
from fewbits.gridreport import grid_report
from fewbits.interfaces import Context
from fewbits.layerquant import quantize_layer
from fewbits.model import Encoding, Model, Precision, Stage
from fewbits.modes import Range, forced_ranges, node_modes, port_modes
from fewbits.numerics import encoding_from_range
from fewbits.options import Options
from fewbits.placement import Placement, place, resolve
from fewbits.provenance import Report
from fewbits.ranges import entropy_range, mse_range, percentile_range
from fewbits.shifts import within_left_shift
from fewbits.targets import TargetSpec, need_fit


class GridOptions(Options):
    """Options of every quantizer that puts a network onto uniform grids."""

    precision: Literal["a8_w8", "a8_w4", "a16_w4", "a16_w8", "a16_w16"] = Field(
        default="a8_w8", description="Bits of activations and weights of every layer."
    )
    layers: Mapping[str, str] = Field(
        default_factory=dict,
        description="Precision mode of single layers: name or glob → mode; the last match holds. "
        "An input or output of the network by its name, too.",
    )
    ranges: Mapping[str, tuple[float, float]] = Field(
        default_factory=dict,
        description="Range of what single layers write, in place of what calibration finds: name "
        "or glob, input or output of the network → [lowest, highest].",
    )
    samples: int | None = Field(
        default=None,
        ge=1,
        description="Calibration samples to take statistics of, from the start; all by default.",
    )
    weights: Literal["target", "per_channel", "per_tensor"] = Field(
        "target",
        description="One weight scale per output channel, per tensor, or as the target says.",
    )
    activation_range: Literal["minmax", "percentile", "mse", "entropy"] = Field(
        default="mse", description="How an activation's range follows from its statistics."
    )
    percentile: float = Field(
        default=99.99, gt=50.0, le=100.0, description="For activation_range=percentile."
    )
    weight_range: Literal["minmax", "mse"] = Field(
        default="mse", description="How a weight's range follows from its values."
    )
    bias_correction: bool = Field(
        True,
        description="Add to each bias the mean shift that rounding the layer's weights causes.",
    )

    @field_validator("ranges")
    @classmethod
    def _rising(cls, value: Mapping[str, Range]) -> Mapping[str, Range]:
        for name, (low, high) in value.items():
            if not low < high:
                raise ValueError(f"the range of '{name}' must rise")
        return value


@dataclass(frozen=True)
class Calibrated:
    """A network whose statistics are known, ready for any precision modes.

    Args:
        given: the model as it was.
        model: a copy in which every layer has constants of its own; in float.
        placement: which tensors are integers.
        modes: node name → precision mode, as the options say.
        statistics: of every tensor with a range of its own, and of the layers' inputs.
        options: how ranges follow from them.
        per_channel: one weight scale per output channel.
        spec: the target's limits.
        ports: tensor → precision mode that holds in place of its node's.
        ranges: tensor → range that holds in place of its statistics.
        asked: node name → precision mode before the target had its say.
    """

    given: Model
    model: Model
    placement: Placement
    modes: Mapping[str, Precision]
    statistics: Mapping[str, TensorStatistics]
    options: GridOptions
    per_channel: bool
    spec: TargetSpec
    ports: Mapping[str, Precision] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)
    asked: Mapping[str, Precision] = field(default_factory=dict)

    def layers(self, model: Model | None = None) -> list[Layer]:
        """Return the layers that the target runs in integers, of `model` or of a copy of it."""
        in_float = {str(node.name) for node in self.placement.float_nodes}
        found = layers((model or self.model).graph)
        return [layer for layer in found if layer.name not in in_float]

    def quantized(self, modes: Mapping[str, Precision], context: Context) -> Model:
        """Return the model with every encoding, weights and biases on their grids.

        Args:
            modes: node name → precision mode; a name that is missing has what the options say.
            context: gives the target and progress.
        """
        chosen = {**self.modes, **modes}
        new = self.model.copy()
        own = self.layers(new)
        encodings = self._activations(chosen, own)
        for layer in context.track(own, "quantize", len(own), "layers"):
            encodings |= self._weights(layer, chosen[layer.name], encodings, context)
        return self.given.advance(
            Stage.QUANTIZED,
            network=new.network,
            masks=new.masks,
            encodings=encodings,
            precisions={layer.name: chosen[layer.name] for layer in own},
        )

    def activation(self, name: str, bits: int) -> Encoding:
        """Return the encoding of an activation of so many bits.

        Args:
            name: one of the tensors with a range of its own.
            bits: width.
        """
        bits = self.spec.wide_bits if bits == 16 else bits
        if name in self.ranges:
            return encoding_from_range(*self.ranges[name], bits)
        statistics, options = self.statistics[name], self.options
        low, high, histogram = statistics.low, statistics.high, statistics.histogram
        method = options.activation_range
        if histogram is not None and high > low:
            if method == "percentile":
                found = percentile_range(histogram, options.percentile)
                low, high = max(low, found[0]), min(high, found[1])
            elif method == "mse":
                low, high = mse_range(histogram, low, high, bits)
            elif method == "entropy":
                low, high = entropy_range(histogram, low, high, bits)
        return encoding_from_range(low, high, bits)

    def report(self, precisions: Mapping[str, Precision]) -> Report:
        """Name every layer with its mode, and every op left in float with its share of the work.

        Args:
            precisions: layer name → mode, those of the quantized model.
        """
        bound = {
            name: str(self.asked[name])
            for name, mode in precisions.items()
            if name in self.asked and self.asked[name] != mode == self.modes[name]
        }
        return grid_report(self.given, precisions, self.placement, len(self.statistics), bound)

    def _activations(
        self, modes: Mapping[str, Precision], own: Sequence[Layer]
    ) -> dict[str, Encoding]:
        default = Precision.parse(self.options.precision).activation_bits
        encodings = {}
        for name, node in self.placement.own.items():
            mode = self.ports.get(name)
            if mode is None and node is not None:
                mode = modes.get(str(node.name))
            encodings[name] = self.activation(name, mode.activation_bits if mode else default)
        origins = resolve(self.placement.inherited, self.placement.inherited)
        for layer in own if self.spec.shifts is not None else ():
            self._keep_shift(layer, modes[layer.name], encodings, origins)
        return encodings | {name: encodings[origin] for name, origin in origins.items()}

    def _keep_shift(
        self,
        layer: Layer,
        mode: Precision,
        encodings: dict[str, Encoding],
        origins: Mapping[str, str],
    ) -> None:
        """Widen what a layer writes if the device could not shift its accumulator so far."""
        source, target = (str(value.name) for value in (layer.input, layer.output))
        if target not in self.placement.own:
            return
        peak = float(np.abs(np.asarray(constant(layer.weight))).max(initial=0.0))
        scale = peak / ((1 << (mode.weight_bits - 1)) - 1)
        step = scale * float(encodings[origins.get(source, source)].scale)
        encodings[target] = within_left_shift(encodings[target], step, self.spec.shifts)

    def _weights(
        self,
        layer: Layer,
        mode: Precision,
        activations: Mapping[str, Encoding],
        context: Context,
    ) -> dict[str, Encoding]:
        source = str(layer.input.name)
        corrected = self.options.bias_correction and layer.bias is not None
        return quantize_layer(
            layer,
            mode,
            activations[source],
            per_channel=self.per_channel,
            method=self.options.weight_range,
            mean=self.statistics[source].mean if corrected else None,
            bias_bits=context.target.spec.bias_bits,
            limits=context.target.spec.shifts,
        )


def calibrate(
    model: Model, options: GridOptions, context: Context, *, step: str = "quantize"
) -> Calibrated:
    """Run the calibration data through the float network once.

    Args:
        model: the network in float; it is not changed.
        options: modes and ranges.
        context: gives the target, the data, the batch size, threads and progress.
        step: who asks, for messages.

    Raises:
        DataError: there is no calibration data.
        RecipeError: a glob matches no layer.
        TargetError: the target lacks a precision mode or a weight granularity, or cannot run the
            network.
    """
    need_fit(model, context.target)
    new = _prepared(model, with_biases=options.bias_correction)
    graph, placement = new.graph, place(new.graph, context.target.spec)
    asked = node_modes(graph, options.precision, options.layers, context, step)
    modes = context.target.spread(new, asked)
    granularity = _granularity(options, context)
    found = Calibrated(
        model,
        new,
        placement,
        modes,
        {},
        options,
        granularity == "per_channel",
        context.target.spec,
        asked=asked,
        ports=port_modes(graph, options.layers, placement),
        ranges=forced_ranges(graph, options.ranges, placement, context, step),
    )
    if options.samples is not None and context.calibration is not None:
        context = replace(context, calibration=take(context.calibration, options.samples))
    statistics = _statistics(new, placement, found.layers(), options, context)
    return replace(found, statistics=statistics)


def _statistics(
    model: Model,
    placement: Placement,
    chosen: Sequence[Layer],
    options: GridOptions,
    context: Context,
) -> dict[str, TensorStatistics]:
    """Watch every tensor with a range of its own, and the inputs whose means are needed."""
    means = {
        str(layer.input.name)
        for layer in chosen
        if options.bias_correction and layer.bias is not None
    }
    histograms = options.activation_range != "minmax"
    names = dict.fromkeys([*placement.own, *sorted(means)])
    return collect(model, names, context, histograms=histograms, means=means)


def _granularity(options: GridOptions, context: Context) -> str:
    spec = context.target.spec
    chosen = spec.weights if options.weights == "target" else options.weights
    if chosen not in spec.granularities:
        raise TargetError(
            f"Target {context.target.name} has no {chosen} weights.",
            hint=f"Choose weights={' or weights='.join(sorted(spec.granularities))}.",
        )
    return str(chosen)


def _prepared(model: Model, *, with_biases: bool) -> Model:
    """Return a copy in which every layer has constants of its own, and a bias if asked for."""
    new = model.copy()
    copies = unshare_constants(new.graph)
    flatten_biases(new.graph)
    if with_biases:
        for layer in list(layers(new.graph)):
            ensure_bias(new.graph, layer.node, layer.out_channels)
    masks = {copy: new.masks[name] for copy, name in copies.items() if name in new.masks}
    return new.replace(masks={**new.masks, **masks})
