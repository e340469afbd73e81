"""The algorithm `activation_clipping`: a Clip behind the layer, which devices compute for free."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir
from fewbits.calibration import TensorStatistics, collect
from fewbits.graph import Layer, add_constant, clip_bounds, layers
from fewbits.interfaces import Algorithm, Context, Result
from fewbits.model import Model, Stage
from fewbits.options import Options
from fewbits.provenance import LayerNote, Report
from pydantic import Field, model_validator

from fewbits_clipping.bounds import Bounds, histogram_percentiles, share_outside
from fewbits_clipping.selection import chosen_layers


class ActivationClippingOptions(Options):
    """Options of `activation_clipping`."""

    layers: tuple[str, ...] = Field(("*",), description="Layers to clip, names or globs.")
    mode: Literal["disabled", "manual", "percentile", "percentile_force"] = Field(
        "percentile",
        description="manual: clipping_values are bounds; percentile: percent of the calibration"
        " values; percentile_force: so too where a layer writes an output of the network.",
    )
    clipping_values: tuple[float, float] = Field(
        (0.01, 99.99), description="Lower and upper end: percent, or bounds when mode=manual."
    )

    @model_validator(mode="after")
    def _in_order(self) -> "ActivationClippingOptions":
        low, high = self.clipping_values
        if self.mode == "manual" and not low <= 0.0 <= high:
            raise ValueError("the bounds in clipping_values must have 0 between them")
        if self.mode.startswith("percentile") and not 0.0 <= low < high <= 100.0:
            raise ValueError("clipping_values must be percent, the lower end first")
        return self


@dataclass(frozen=True)
class _Plan:
    """What is to happen to one layer: the bounds, or why not."""

    bounds: Bounds
    share: float
    reason: str = ""


class ActivationClipping(Algorithm):
    """Clips what layers write to percentiles of their calibration values, or to given bounds.

    The range that quantization has to cover then ends at the bounds: the few values beyond them
    saturate, all others get a finer grid.
    """

    name = "activation_clipping"
    stage = Stage.OPTIMIZED
    needs_calibration = True
    Options = ActivationClippingOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the model with a Clip behind each layer that has values beyond its bounds.

        Raises:
            DataError: there is no calibration data.
            RecipeError: a glob matches no layer.
        """
        chosen = chosen_layers(model, context, self.options.layers, self.name)
        if self.options.mode == "disabled":
            chosen = set()
        watched = [str(la.output.name) for la in layers(model.graph) if la.name in chosen]
        statistics = collect(model, watched, context, histograms=True) if watched else {}
        plans = {la.name: self._plan(la, chosen, statistics) for la in layers(model.graph)}
        network = model.network.clone()
        for layer in list(layers(network.graph)):
            if not plans[layer.name].reason:
                put_clip(network.graph, layer, plans[layer.name].bounds)
        report = _report(plans, statistics, model)
        return Result(model.advance(self.stage, network=network), report)

    def _plan(
        self, layer: Layer, chosen: set[str], statistics: Mapping[str, TensorStatistics]
    ) -> _Plan:
        if self.options.mode == "disabled":
            return _Plan((0.0, 0.0), 0.0, "clipping is disabled")
        if layer.name not in chosen:
            return _Plan((0.0, 0.0), 0.0, "it was not asked for")
        if self.options.mode == "percentile" and layer.output.is_graph_output():
            return _Plan((0.0, 0.0), 0.0, "it writes an output of the network")
        seen = statistics[str(layer.output.name)]
        assert seen.histogram is not None, "collected with histograms"
        low, high = self.options.clipping_values
        if self.options.mode != "manual":
            low, high = histogram_percentiles(seen.histogram, low, high)
        bounds = _tightest(layer, (low, high))
        if bounds[0] <= seen.low and seen.high <= bounds[1]:
            return _Plan(bounds, 0.0, "none of its values lies outside")
        return _Plan(bounds, share_outside(seen.histogram, bounds))


def put_clip(graph: ir.Graph, layer: Layer, bounds: Bounds) -> None:
    """Bound what a layer writes: behind it, or in the place of its Relu or Clip.

    Bounds that differ by channel stay behind: `clip(min(x, b)) = min(clip(x), b)` for `b ≥ 0`.

    Args:
        graph: the layer's graph; it is changed.
        layer: the layer; a Relu or Clip fused to it is replaced, so the bounds must imply it.
        bounds: 0 lies between them, so that a device can fuse the Clip.
    """
    old = layer.activation
    name = str(old.name) if old is not None else f"{layer.name}.clip"
    ends = [
        add_constant(graph, f"{layer.name}.clip.{end}", np.asarray(bound, np.float32))
        for end, bound in zip(("min", "max"), bounds, strict=True)
    ]
    source, output = layer.node.outputs[0], (old or layer.node).outputs[0]
    node = ir.node("Clip", [source, *ends], name=name)
    graph.insert_after(old or layer.node, node)
    _take_over(graph, output, node)
    if old is not None:
        graph.remove(old, safe=True)


def _take_over(graph: ir.Graph, old: ir.Value, node: ir.Node) -> None:
    """Let `node` write the value called as `old` is, for all that read it."""
    new, name = node.outputs[0], str(old.name)
    new.shape, new.type = old.shape, old.type
    for use in list(old.uses()):
        if use.node is not node:
            use.node.replace_input_with(use.idx, new)
    if old.is_graph_output():
        graph.outputs[list(graph.outputs).index(old)] = new
    old.name, new.name = f"{name}.unclipped", name


def _tightest(layer: Layer, bounds: Bounds) -> Bounds:
    """Return the bounds within those that the layer's activation already keeps, as float32."""
    kept = clip_bounds(layer.activation) if layer.activation is not None else None
    low, high = kept or (-np.inf, np.inf)
    return float(np.float32(max(low, bounds[0]))), float(np.float32(min(high, bounds[1])))


def _report(
    plans: Mapping[str, _Plan], statistics: Mapping[str, TensorStatistics], model: Model
) -> Report:
    notes = []
    for layer in layers(model.graph):
        plan, seen = plans[layer.name], statistics.get(str(layer.output.name))
        if plan.reason or seen is None:
            notes.append(LayerNote(layer.name, "kept", reason=plan.reason))
            continue
        values = {"low": plan.bounds[0], "high": plan.bounds[1], "share": plan.share}
        why = f"its values reach from {seen.low:.4g} to {seen.high:.4g}"
        notes.append(LayerNote(layer.name, "clipped", reason=why, values=values))
    count = sum(note.action == "clipped" for note in notes)
    summary = f"Clipped the outputs of {count} of {len(notes)} layers."
    return Report(count > 0, summary, tuple(notes), {"clipped": count})
