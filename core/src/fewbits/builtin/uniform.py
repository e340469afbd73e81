"""The quantizer `uniform`: uniform affine encodings from calibration statistics."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import Field

from fewbits.calibration import TensorStatistics, collect
from fewbits.cost import work
from fewbits.errors import RecipeError, TargetError, nearest
from fewbits.graph import Layer, constant, layers, set_constant, unshare_constants
from fewbits.interfaces import Context, Quantizer, Result, TargetSpec
from fewbits.model import Encoding, Model, Precision, Stage
from fewbits.numerics import encoding_from_range, fake_quantize
from fewbits.options import Options
from fewbits.placement import Placement, place, resolve
from fewbits.provenance import LayerNote, Report
from fewbits.ranges import entropy_range, mse_range, percentile_range, weight_encoding


class UniformOptions(Options):
    """Options of the quantizer `uniform`."""

    precision: Literal["a8_w8", "a8_w4", "a16_w4", "a16_w8", "a16_w16"] = Field(
        "a8_w8", description="Bits of activations and weights of every layer."
    )
    layers: Mapping[str, str] = Field(
        default_factory=dict,
        description="Precision mode of single layers: name or glob → mode; the last match holds.",
    )
    weights: Literal["target", "per_channel", "per_tensor"] = Field(
        "target",
        description="One weight scale per output channel, per tensor, or as the target says.",
    )
    activation_range: Literal["minmax", "percentile", "mse", "entropy"] = Field(
        "mse", description="How an activation's range follows from its statistics."
    )
    percentile: float = Field(
        99.99, gt=50.0, le=100.0, description="For activation_range=percentile."
    )
    weight_range: Literal["minmax", "mse"] = Field(
        "mse", description="How a weight's range follows from its values."
    )


class UniformQuantizer(Quantizer):
    """Asymmetric activations, symmetric narrow-range weights, int32 biases at `s_w · s_a`."""

    name = "uniform"
    Options = UniformOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the model with an encoding for every tensor that the target runs in integers.

        Raises:
            DataError: there is no calibration data.
            RecipeError: a glob matches no layer.
            TargetError: the target lacks a precision mode or a weight granularity.
        """
        spec = context.target.spec
        new = model.copy()
        unshare_constants(new.graph)
        placement = place(new.graph, spec)
        precisions = self._precisions(new.graph, placement, context)
        needs_histograms = self.options.activation_range != "minmax"
        statistics = collect(new, placement.own, context, histograms=needs_histograms)
        encodings = self._activations(placement, precisions, statistics)
        chosen = [layer for layer in layers(new.graph) if placement.holds(layer.input)]
        for layer in chosen:
            precision = precisions[layer.name]
            encodings |= self._layer(layer, precision, encodings[str(layer.input.name)], spec)
        kept = {layer.name: precisions[layer.name] for layer in chosen}
        quantized = new.advance(Stage.QUANTIZED, encodings=encodings, precisions=kept)
        return Result(quantized, _report(model, kept, placement, statistics))

    def _precisions(
        self, graph: ir.Graph, placement: Placement, context: Context
    ) -> dict[str, Precision]:
        """Return the precision mode of every node by name; the last matching glob holds."""
        names = [str(node.name) for node in graph]
        modes = dict.fromkeys(names, Precision.parse(self.options.precision))
        for glob, text in self.options.layers.items():
            matched = [name for name in names if name == glob or fnmatchcase(name, glob)]
            if not matched:
                raise RecipeError(
                    f"step 'quantize': no layer matches '{glob}'.", hint=nearest(glob, names)
                )
            modes |= dict.fromkeys(matched, Precision.parse(text))
        for mode in sorted(set(modes.values()), key=str):
            if mode not in context.target.spec.precisions:
                allowed = ", ".join(sorted(str(p) for p in context.target.spec.precisions))
                raise TargetError(
                    f"Target {context.target.name} does not run precision mode {mode}.",
                    hint=f"It runs {allowed}.",
                )
        return modes

    def _activations(
        self,
        placement: Placement,
        precisions: Mapping[str, Precision],
        statistics: Mapping[str, TensorStatistics],
    ) -> dict[str, Encoding]:
        default = Precision.parse(self.options.precision).activation_bits
        encodings = {}
        for name, node in placement.own.items():
            mode = precisions.get(str(node.name)) if node is not None else None
            bits = mode.activation_bits if mode else default
            encodings[name] = self._activation(statistics[name], bits)
        for name, origin in resolve(placement.inherited, placement.inherited).items():
            encodings[name] = encodings[origin]
        return encodings

    def _activation(self, statistics: TensorStatistics, bits: int) -> Encoding:
        low, high, histogram = statistics.low, statistics.high, statistics.histogram
        method = self.options.activation_range
        if histogram is not None and high > low:
            if method == "percentile":
                found = percentile_range(histogram, self.options.percentile)
                low, high = max(low, found[0]), min(high, found[1])
            elif method == "mse":
                low, high = mse_range(histogram, low, high, bits)
            elif method == "entropy":
                low, high = entropy_range(histogram, low, high, bits)
        return encoding_from_range(low, high, bits)

    def _layer(
        self, layer: Layer, precision: Precision, source: Encoding, spec: TargetSpec
    ) -> dict[str, Encoding]:
        """Put a layer's weight and bias onto their grids; return their encodings."""
        weight = np.asarray(constant(layer.weight), np.float32)
        granularity = spec.weights if self.options.weights == "target" else self.options.weights
        if granularity not in spec.granularities:
            raise TargetError(
                f"Layer {layer.name}: the target has no {granularity} weights.",
                hint=f"Choose weights={' or weights='.join(sorted(spec.granularities))}.",
            )
        axis = layer.weight_axis if granularity == "per_channel" else None
        encoding = weight_encoding(
            weight, precision.weight_bits, axis=axis, method=self.options.weight_range
        )
        bias = constant(layer.bias)
        encodings = {}
        if layer.bias is not None and bias is not None:
            bits = spec.bias_bits if source.bits <= 8 and precision.weight_bits <= 8 else 48
            encoding = _with_room_for_bias(encoding, bias, source, bits)
            encodings[str(layer.bias.name)] = bias_encoding(encoding, source, len(bias), bits)
            set_constant(
                layer.bias,
                fake_quantize(bias.astype(np.float64), encodings[str(layer.bias.name)]),
            )
        set_constant(layer.weight, fake_quantize(weight, encoding))
        return encodings | {str(layer.weight.name): encoding}


def bias_encoding(weight: Encoding, source: Encoding, channels: int, bits: int) -> Encoding:
    """Return the encoding of a bias: the accumulator's step `s_w · s_a`, per output channel.

    Args:
        weight: the weight's encoding.
        source: the input activation's encoding.
        channels: length of the bias.
        bits: width of the accumulator.
    """
    scale = np.asarray(weight.scale * source.scale, np.float32)
    groups = channels // max(scale.size, 1) if scale.ndim else 1
    scale = np.tile(scale, groups) if groups > 1 else scale
    axis = 0 if scale.ndim else None
    return Encoding(bits, True, scale, np.zeros(scale.shape, np.int64), axis)


def _with_room_for_bias(
    weight: Encoding, bias: NDArray[np.generic], source: Encoding, bits: int
) -> Encoding:
    """Raise weight scales so far that the bias fits its integer with half of it to spare."""
    peak = np.abs(bias.astype(np.float64))
    if weight.scale.ndim:
        peak = peak.reshape(-1, weight.scale.size).max(axis=0)
    least = peak / (float(source.scale) * 2.0 ** (bits - 2))
    least = least if weight.scale.ndim else least.max(initial=0.0)
    scale = np.maximum(weight.scale, least).astype(np.float32)
    return Encoding(weight.bits, True, scale, weight.zero_point, weight.axis, weight.narrow)


def _report(
    model: Model,
    precisions: Mapping[str, Precision],
    placement: Placement,
    statistics: Mapping[str, TensorStatistics],
) -> Report:
    """Name every layer with its mode, and every op left in float with its share of the work."""
    total = sum(work(node) for node in model.graph) or 1
    notes = [LayerNote(n, "quantized", values={"precision": str(p)}) for n, p in precisions.items()]
    shares = {str(node.name): work(node) / total for node in placement.float_nodes}
    notes += [
        LayerNote(
            str(node.name),
            "float",
            f"the target has no integer {node.op_type}",
            {"share_of_work": round(shares[str(node.name)], 6)},
        )
        for node in placement.float_nodes
    ]
    float_share = sum(shares.values())
    modes = ", ".join(sorted({str(p) for p in precisions.values()}))
    in_float = f", {len(shares)} ops in float ({float_share:.1%} of the work)" if shares else ""
    return Report(
        changed=True,
        summary=f"{len(precisions)} layers at {modes}{in_float}",
        layers=tuple(notes),
        metrics={
            "layers": len(precisions),
            "tensors": len(statistics),
            "float_ops": len(shares),
            "float_share_of_work": round(float_share, 6),
        },
    )
