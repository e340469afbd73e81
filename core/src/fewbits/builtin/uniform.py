"""The quantizer `uniform`: uniform affine encodings from calibration statistics."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal

import onnx_ir as ir
from pydantic import Field

from fewbits.calibration import TensorStatistics, collect
from fewbits.cost import work
from fewbits.errors import RecipeError, TargetError, nearest
from fewbits.graph import Layer, ensure_bias, flatten_biases, layers, unshare_constants
from fewbits.interfaces import Context, Quantizer, Result
from fewbits.layerquant import quantize_layer
from fewbits.model import Encoding, Model, Precision, Stage
from fewbits.numerics import encoding_from_range
from fewbits.options import Options
from fewbits.placement import Placement, place, resolve
from fewbits.provenance import LayerNote, Report
from fewbits.ranges import entropy_range, mse_range, percentile_range


class UniformOptions(Options):
    """Options of the quantizer `uniform`."""

    precision: Literal["a8_w8", "a8_w4", "a16_w4", "a16_w8", "a16_w16"] = Field(
        default="a8_w8", description="Bits of activations and weights of every layer."
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
        new = _prepared(model, with_biases=self.options.bias_correction)
        placement = place(new.graph, spec)
        precisions = self._precisions(new.graph, context)
        granularity = self._granularity(context)
        chosen = _in_integers(new.graph, placement)
        statistics = self._statistics(new, placement, chosen, context)
        encodings = self._activations(placement, precisions, statistics)
        encodings |= self._weights(chosen, precisions, encodings, statistics, context, granularity)
        kept = {layer.name: precisions[layer.name] for layer in chosen}
        quantized = model.advance(
            Stage.QUANTIZED,
            network=new.network,
            masks=new.masks,
            encodings=encodings,
            precisions=kept,
        )
        return Result(quantized, _report(model, kept, placement, len(statistics)))

    def _precisions(self, graph: ir.Graph, context: Context) -> dict[str, Precision]:
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

    def _statistics(
        self, model: Model, placement: Placement, chosen: Sequence[Layer], context: Context
    ) -> dict[str, TensorStatistics]:
        """Watch every tensor with a range of its own, and the inputs whose means are needed."""
        means = {
            str(layer.input.name)
            for layer in chosen
            if self.options.bias_correction and layer.bias is not None
        }
        histograms = self.options.activation_range != "minmax"
        names = dict.fromkeys([*placement.own, *sorted(means)])
        return collect(model, names, context, histograms=histograms, means=means)

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

    def _weights(
        self,
        chosen: Sequence[Layer],
        precisions: Mapping[str, Precision],
        activations: Mapping[str, Encoding],
        statistics: Mapping[str, TensorStatistics],
        context: Context,
        granularity: str,
    ) -> dict[str, Encoding]:
        encodings: dict[str, Encoding] = {}
        for layer in context.track(chosen, "quantize", len(chosen), "layers"):
            source = str(layer.input.name)
            corrected = self.options.bias_correction and layer.bias is not None
            mean = statistics[source].mean if corrected else None
            encodings |= quantize_layer(
                layer,
                precisions[layer.name],
                activations[source],
                per_channel=granularity == "per_channel",
                method=self.options.weight_range,
                mean=mean,
                bias_bits=context.target.spec.bias_bits,
            )
        return encodings

    def _granularity(self, context: Context) -> str:
        spec = context.target.spec
        chosen = spec.weights if self.options.weights == "target" else self.options.weights
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


def _in_integers(graph: ir.Graph, placement: Placement) -> list[Layer]:
    """Return the layers that the target runs in integers."""
    in_float = set(placement.float_nodes)
    return [layer for layer in layers(graph) if layer.node not in in_float]


def _report(
    model: Model,
    precisions: Mapping[str, Precision],
    placement: Placement,
    tensors: int,
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
            "tensors": tensors,
            "float_ops": len(shares),
            "float_share_of_work": round(float_share, 6),
        },
    )
