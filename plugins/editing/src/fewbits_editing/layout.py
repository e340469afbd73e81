"""The step `input_layout`: an input's channels come first or last."""

import onnx_ir as ir
from fewbits.errors import ModelError
from fewbits.interfaces import Algorithm, Context, Result
from fewbits.model import Model, Stage
from fewbits.provenance import LayerNote, Report

from fewbits_editing.front import Front, Shape, picked, shape_of
from fewbits_editing.options import InputLayoutOptions

#: layout that comes in → axes that bring it to the other one.
PERMUTATIONS = {"NHWC": (0, 3, 1, 2), "NCHW": (0, 2, 3, 1)}


class InputLayout(Algorithm):
    """Takes pictures with their channels last (NHWC), or first, and transposes them inside."""

    name = "input_layout"
    stage = Stage.OPTIMIZED
    edits = "inputs"
    float_tolerance = 0.0
    Options = InputLayoutOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the model with the other layout; without preprocessing it is taken to change.

        Raises:
            RecipeError: no input is meant clearly.
            ModelError: the input has other than four dimensions.
        """
        new, wanted = model.copy(), self.options.layout
        value = picked(new, self.options.input, self.name)
        said = model.preprocess
        if said is not None and said.layout == wanted:
            summary = f"Input '{value.name}' comes in as {wanted} already."
            return Result(model.advance(self.stage), Report(False, summary))
        inside = shape_of(value)
        if len(inside) != 4:
            raise ModelError(
                f"step '{self.name}': input '{value.name}' has the shape {value.shape}, not one of"
                " pictures.",
                hint="Name the input that takes pictures: input=NAME.",
            )
        axes = PERMUTATIONS[wanted]
        front = Front(new.graph, value)
        front.end(
            ordered(front, value, axes, inside, "layout"),
            tuple(inside[axes.index(place)] for place in range(4)),
        )
        said = None if said is None else said.model_copy(update={"layout": wanted})
        notes = tuple(LayerNote(name, "added") for name in front.names)
        report = Report(True, f"Input '{value.name}' comes in as {wanted}.", notes)
        return Result(model.advance(self.stage, network=new.network, preprocess=said), report)


def ordered(front: Front, x: ir.Value, axes: tuple[int, ...], shape: Shape, label: str) -> ir.Value:
    """Add a Transpose.

    Args:
        front: where it goes.
        x: what it reads.
        axes: of `x`, in the order of the result.
        shape: of the result.
        label: its name behind the input's.
    """
    return front.op("Transpose", x, label=label, shape=shape, perm=list(axes))
