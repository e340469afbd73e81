"""The step `input_conversion`: pictures come in as the device's camera gives them."""

from typing import Any

import numpy as np
import onnx_ir as ir
from fewbits.colours import SHARED, form
from fewbits.errors import ModelError, RecipeError
from fewbits.graph import constant
from fewbits.interfaces import Algorithm, Context, Result
from fewbits.model import Model, Stage
from fewbits.preprocess import Preprocess
from fewbits.provenance import LayerNote, Report
from numpy.typing import NDArray

from fewbits_editing.constants import own_constant
from fewbits_editing.entry import Entry, entry_layers
from fewbits_editing.front import Front, picked, picture_sides, shape_of
from fewbits_editing.layout import ordered
from fewbits_editing.options import InputConversionOptions
from fewbits_editing.unpack import Unpacking


class InputConversion(Algorithm):
    """Converts what comes in, NV12 or YUY2 for example, to what the network takes.

    Without `emulator_support`, the default as in Hailo's tools, the network and everything here
    goes on with the network's own form, and the conversion stands in the history for the device's
    compiler. With it the conversion becomes part of the network, and the archive's preprocessing
    turns pictures into the form that comes in.
    """

    name = "input_conversion"
    stage = Stage.OPTIMIZED
    edits = "inputs"
    float_tolerance = 1e-4
    Options = InputConversionOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the model that takes the other form, or the model as it is with a note.

        Raises:
            RecipeError: the network takes something else, the preprocessing normalizes after the
                conversion, or no input is meant clearly.
            ModelError: the input does not hold pictures of three channels and known sides, or a
                side is odd where pixels share U and V.
        """
        new = model.copy()
        value = picked(new, self.options.input, self.name)
        source, target = self.options.kind.split("_to_")
        said = model.preprocess
        _check_form(said, target, source)
        if not self.options.emulator_support:
            return Result(model.advance(self.stage), self._noted(str(value.name)))
        _check_range(said, source)
        axis = 3 if said is not None and said.layout == "NHWC" else 1
        channels, height, width = picture_sides(value, axis, self.name)
        _check_sides(value, channels, source, (height, width))
        masks = dict(model.masks)
        notes = None
        if {source, target} == {"rgb", "bgr"} and axis == 1:
            notes = _reversed_weights(new.graph, value, masks)
        if notes is None:
            notes = _converted(new.graph, value, axis, source, target)
        report = Report(True, self._summary(str(value.name)), tuple(notes), self._metrics())
        out = model.advance(
            self.stage, network=new.network, masks=masks, preprocess=_said(said, source)
        )
        return Result(out, report)

    def _noted(self, name: str) -> Report:
        summary = (
            f"{self.options.kind} of '{name}' is left to the device; nothing changes here"
            " (emulator_support=true puts it into the network)."
        )
        return Report(False, summary, metrics=self._metrics())

    def _summary(self, name: str) -> str:
        return f"Input '{name}' takes {self.options.kind.split('_to_')[0].upper()} now."

    def _metrics(self) -> dict[str, Any]:
        return {"kind": self.options.kind, "emulator_support": self.options.emulator_support}


def _check_form(said: Preprocess | None, target: str, source: str) -> None:
    """Check that the network takes what the conversion gives."""
    if said is not None and said.channels != target.upper():
        raise RecipeError(
            f"step 'input_conversion': it gives {target.upper()}, and the network takes"
            f" {said.channels}.",
            hint=f"Choose a kind that ends in _to_{said.channels.lower()}, or say channels="
            f"{target.upper()} in --preprocess if the network was trained with that.",
        )


def _check_range(said: Preprocess | None, source: str) -> None:
    """Check that the network takes plain pixels where values, not only places, are converted."""
    if said is None or source in ("rgb", "bgr", "rgbx"):
        return
    if any(said.mean) or any(number != 1.0 for number in said.std):
        raise RecipeError(
            f"step 'input_conversion': pixels are converted from {source.upper()} first and"
            f" normalized afterwards, and the preprocessing normalizes: '{said.to_text()}'.",
            hint="Put step 'normalization' before it, which takes that into the network.",
        )


def _check_sides(value: ir.Value, channels: int, source: str, sides: tuple[int, int]) -> None:
    shared = SHARED.get(source.upper(), (1, 1))
    odd = any(side % each for side, each in zip(sides, shared, strict=True))
    if channels != 3 or odd:
        wrong = f"{channels} channels, not 3" if channels != 3 else f"odd sides, {sides}"
        raise ModelError(
            f"step 'input_conversion': input '{value.name}' has {wrong}.",
            hint="Put step 'resize' before it to let pictures of even sides in."
            if channels == 3
            else "Name the input that takes pictures: input=NAME.",
        )


def _converted(
    graph: ir.Graph, value: ir.Value, axis: int, source: str, target: str
) -> list[LayerNote]:
    """Put the conversion's nodes behind an input and give it the form that comes in."""
    batch = shape_of(value)[0]
    _, height, width = picture_sides(value, axis, "input_conversion")
    rows, columns, depth = form(source.upper(), height, width)
    front = Front(graph, value)
    first, last = (batch, depth, rows, columns), (batch, rows, columns, depth)
    x = value if axis == 1 else ordered(front, value, (0, 3, 1, 2), first, "channels_first")
    x = Unpacking(front, batch, height, width).planes(x, source, target)
    if axis == 3:
        x = ordered(front, x, (0, 2, 3, 1), (batch, height, width, 3), "channels_last")
    front.end(x, first if axis == 1 else last)
    return [LayerNote(name, "added") for name in front.names]


def _reversed_weights(
    graph: ir.Graph, value: ir.Value, masks: dict[str, NDArray[np.bool_]]
) -> list[LayerNote] | None:
    """Let convolutions read the channels in the other order; None if others read them too."""
    entries = entry_layers(value)
    if entries is None or any(entry.groups > 1 for entry in entries):
        return None
    return [_reversed(graph, entry, masks) for entry in entries]


def _reversed(graph: ir.Graph, entry: Entry, masks: dict[str, NDArray[np.bool_]]) -> LayerNote:
    own_constant(graph, entry.node, 1, entry.store(entry.weight[:, ::-1]), masks)
    weight = entry.node.inputs[1]
    assert weight is not None
    assert constant(weight) is not None
    if str(weight.name) in masks:
        mask = np.ascontiguousarray(masks[str(weight.name)][:, ::-1])
        mask.flags.writeable = False
        masks[str(weight.name)] = mask
    return LayerNote(str(entry.node.name), "folded", values={"takes": "the order of channels"})


def _said(said: Preprocess | None, source: str) -> Preprocess | None:
    """Return preprocessing that gives the form that comes in."""
    if said is None:
        return None
    changes: dict[str, Any] = {"channels": source.upper()}
    if source in ("rgb", "bgr"):
        changes |= {name: getattr(said, name)[::-1] for name in ("mean", "std")}
    elif source == "rgbx":
        fills = {"mean": 0.0, "std": 1.0}
        for name, fill in fills.items():
            held = getattr(said, name)
            plain = all(number == fill for number in held)
            spread = held * 3 if len(held) == 1 else held
            changes[name] = (fill,) if plain else (*spread, fill)
    return said.model_copy(update=changes)
