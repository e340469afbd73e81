"""The steps `output_activation` and `logits`: what outputs end in."""

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
from fewbits.errors import ModelError
from fewbits.interfaces import Algorithm, Context, Result
from fewbits.model import Model, Stage
from fewbits.provenance import LayerNote, Report
from onnx_ir.passes.common import RemoveUnusedNodesPass

from fewbits_editing.activations import Standing, same, standing, written
from fewbits_editing.endings import chosen, end_in, free_node_name
from fewbits_editing.options import LogitsOptions, OutputActivationOptions


class OutputActivation(Algorithm):
    """Puts an activation at outputs in place of the one that stands there, or takes it off."""

    name = "output_activation"
    stage = Stage.OPTIMIZED
    edits = "outputs"
    float_tolerance = 1e-5
    Options = OutputActivationOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the model whose outputs end in the activation; one that does is left alone.

        Raises:
            RecipeError: a name matches no output.
            ModelError: an output holds no floats, or softmax has no such axis there.
        """
        options, new = self.options, model.copy()
        notes = [
            ended(new.graph, place, options.activation, self.name, options.axis, options.alpha)
            for place in chosen(new.graph, options.layers, self.name)
        ]
        return result(self, model, new, notes, options.activation)


class Logits(Algorithm):
    """Ends outputs in softmax, or in the number of the largest score (argmax)."""

    name = "logits"
    stage = Stage.OPTIMIZED
    edits = "outputs"
    float_tolerance = 1e-5
    Options = LogitsOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the model with probabilities, or int64 indices whose axis has length 1.

        Raises:
            RecipeError: a name matches no output.
            ModelError: an output holds no floats, or has no such axis.
        """
        options, new = self.options, model.copy()
        places = chosen(new.graph, options.layers, self.name)
        if options.kind == "softmax":
            notes = [
                ended(new.graph, place, "softmax", self.name, options.axis, 0.0, keep=True)
                for place in places
            ]
        else:
            notes = [_argmax(new.graph, place, options.axis, self.name) for place in places]
        return result(self, model, new, notes, options.kind)


def ended(
    graph: ir.Graph,
    place: int,
    wanted: str,
    step: str,
    axis: int,
    alpha: float,
    *,
    keep: bool = False,
) -> LayerNote:
    """Let one output end in an activation, in place.

    Args:
        graph: the graph.
        place: which output.
        wanted: the activation.
        step: who asks, for messages.
        axis: of softmax.
        alpha: of leaky.
        keep: put it behind what stands there, not in its place.
    """
    output = graph.outputs[place]
    name, there = str(output.name), standing(output)
    _check(output, step, axis if wanted == "softmax" else 0)
    producer = output.producer()
    shown = str(producer.name) if producer is not None else name
    if same(there, wanted, axis=axis, alpha=alpha):
        return LayerNote(shown, "kept", reason=f"output '{name}' is {wanted} already")
    was = there.name
    there = Standing("linear", output) if keep else there
    fresh = free_node_name(graph, f"{name}.{wanted}")
    nodes = (
        []
        if wanted == "linear"
        else written(graph, there.source, wanted, fresh, axis=axis, alpha=alpha)
    )
    new = end_in(graph, place, there, nodes)
    last = new.producer()
    values = {"output": name, "was": was, "is": wanted}
    return LayerNote(str(last.name) if last is not None else shown, "changed", values=values)


def _argmax(graph: ir.Graph, place: int, axis: int, step: str) -> LayerNote:
    """Let one output be the index of the largest value along an axis, which gets length 1."""
    output = graph.outputs[place]
    _check(output, step, axis)
    name, there = str(output.name), standing(output)
    if there.name != "softmax":  # softmax changes no order
        there = Standing("linear", output)
    attributes = {"axis": axis, "keepdims": 1}
    fresh = free_node_name(graph, f"{name}.argmax")
    node = ir.node("ArgMax", [there.source], attributes=attributes, name=fresh)
    new = end_in(graph, place, there, [node])
    sizes: list[Any] = list(output.shape or ())
    sizes[axis] = 1
    new.shape, new.type = ir.Shape(sizes), ir.TensorType(ir.DataType.INT64)
    return LayerNote(fresh, "changed", values={"output": name, "is": "argmax", "axis": axis})


def result(
    step: Algorithm, model: Model, new: Model, notes: Sequence[LayerNote], wanted: str
) -> Result:
    """Return the model given if nothing was changed, else the new one, with the report."""
    changed = [note for note in notes if note.action == "changed"]
    kept = len(notes) - len(changed)
    names = ", ".join(f"'{note.values['output']}'" for note in changed)
    summary = f"Outputs that end in {wanted} now: {names or 'none'}"
    report = Report(
        bool(changed), f"{summary}{f'; {kept} did before' if kept else ''}.", tuple(notes)
    )
    if not changed:
        return Result(model.advance(step.stage), report)
    RemoveUnusedNodesPass()(new.network)
    new.graph.sort()
    masks = {name: mask for name, mask in model.masks.items() if name in new.graph.initializers}
    return Result(model.advance(step.stage, network=new.network, masks=masks), report)


def _check(output: ir.Value, step: str, axis: int) -> None:
    rank = None if output.shape is None else len(output.shape)
    floats = output.dtype in (None, ir.DataType.FLOAT)
    if not floats or rank is None or not -rank <= axis < max(rank, 1):
        raise ModelError(
            f"step '{step}': output '{output.name}' is {output.dtype} {output.shape}; floats with"
            f" axis {axis} are needed.",
            hint="Name other outputs with layers=, or another axis.",
        )
