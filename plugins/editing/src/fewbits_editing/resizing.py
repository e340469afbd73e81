"""The step `resize`: pictures come in at another size."""

import numpy as np
import onnx_ir as ir
from fewbits.colours import SHARED
from fewbits.errors import RecipeError
from fewbits.interfaces import Algorithm, Context, Result
from fewbits.model import Model, Stage
from fewbits.preprocess import Preprocess
from fewbits.provenance import LayerNote, Report

from fewbits_editing.front import Front, picked, picture_sides, shape_of
from fewbits_editing.options import ResizeOptions
from fewbits_editing.sizes import rescaled, scale

#: which pixel is nearest: half-way places go up, as in torch's `nearest-exact` and in Pillow.
_NEAREST = {"half_pixel": "round_prefer_ceil", "asymmetric": "floor"}
_MODES = {"bilinear": "linear", "nearest": "nearest"}


class InputResize(Algorithm):
    """Takes pictures of another size and brings them to the network's own inside.

    The archive's preprocessing then gives the same part of each picture at the size that comes in.
    """

    name = "resize"
    stage = Stage.OPTIMIZED
    edits = "inputs"
    float_tolerance = 1e-4
    Options = ResizeOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the model that takes pictures of `height` and `width`.

        Raises:
            RecipeError: no size is said, pictures come in packed already, or no input is meant
                clearly.
            ModelError: the input does not hold pictures of known sides.
        """
        options, said = self.options, model.preprocess
        if options.height is None or options.width is None:
            raise RecipeError(
                f"step '{self.name}': no size is said.", hint="Give height and width."
            )
        _check_form(said)
        new = model.copy()
        value = picked(new, options.input, self.name)
        axis = 3 if said is not None and said.layout == "NHWC" else 1
        _, height, width = picture_sides(value, axis, self.name)
        size = (options.height, options.width)
        if size == (height, width):
            summary = f"Input '{value.name}' has {height}x{width} pixels already."
            return Result(model.advance(self.stage), Report(False, summary))
        notes = self._resized(new.graph, value, axis, size)
        said = None if said is None else rescaled(said, (height, width), size)
        summary = (
            f"Input '{value.name}' takes {size[0]}x{size[1]} pixels and brings them to"
            f" {height}x{width}, {options.method}."
        )
        report = Report(True, summary, notes)
        return Result(model.advance(self.stage, network=new.network, preprocess=said), report)

    def _resized(
        self, graph: ir.Graph, value: ir.Value, axis: int, size: tuple[int, int]
    ) -> tuple[LayerNote, ...]:
        inside = shape_of(value)
        _, height, width = picture_sides(value, axis, self.name)
        first = 2 if axis == 1 else 1
        front = Front(graph, value)
        attributes = {
            "mode": _MODES[self.options.method],
            "coordinate_transformation_mode": self.options.pixels,
        }
        if self.options.method == "nearest":
            attributes["nearest_mode"] = _NEAREST.get(self.options.pixels, "round_prefer_floor")
        # Scales, not sizes with axes: ONNX Runtime 1.32 loses the sizes between quantized tensors.
        factors = [np.float32(1)] * 4
        factors[first : first + 2] = map(scale, size, (height, width))
        scales = front.constant("scales", np.array(factors, np.float32))
        result = front.op("Resize", value, None, scales, label="resize", shape=inside, **attributes)
        front.end(result, (*inside[:first], *size, *inside[first + 2 :]))
        return tuple(LayerNote(name, "added") for name in front.names)


def _check_form(said: Preprocess | None) -> None:
    if said is not None and said.channels in SHARED:
        raise RecipeError(
            f"step 'resize': pictures come in as {said.channels} already, which cannot be resized.",
            hint="Put 'resize' before 'input_conversion'.",
        )
