"""The step `normalization`: (x − mean) / std moves from the preprocessing into the network."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from fewbits.errors import RecipeError
from fewbits.graph import constant, ensure_bias, readers
from fewbits.interfaces import Algorithm, Context, Result
from fewbits.model import Model, Stage
from fewbits.preprocess import Preprocess
from fewbits.provenance import LayerNote, Report
from numpy.typing import NDArray

from fewbits_editing.affine import Array, scaled, shift
from fewbits_editing.constants import own_constant
from fewbits_editing.entry import Entry, entry_layers
from fewbits_editing.front import Front, picked, shape_of
from fewbits_editing.options import NormalizationOptions

PLAIN = {"mean": (0.0,), "std": (1.0,)}


class Normalization(Algorithm):
    """Lets the network take raw numbers: it subtracts the mean and divides by std itself.

    The layers that read the input take `1/std` into their weights, and the mean into their biases
    where they have no padding. Zeros around a normalized picture are the mean around a raw one, so
    in front of padded layers the mean is subtracted by an op of its own; in front of anything but
    layers both are.
    """

    name = "normalization"
    stage = Stage.OPTIMIZED
    edits = "inputs"
    float_tolerance = 1e-4
    Options = NormalizationOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the model that takes raw numbers, and says so in its preprocessing.

        Raises:
            RecipeError: the preprocessing does not normalize, or not in this way; mean and std do
                not fit the channels; or no input is meant clearly.
            ModelError: the input holds no floats.
        """
        new = model.copy()
        value = picked(new, self.options.input, self.name)
        said = model.preprocess
        axis = channel_axis(value, said)
        depth = shape_of(value)[axis]
        mean, std = (self._numbers(model, option, depth) for option in ("mean", "std"))
        self._check(model, mean, std)
        masks = dict(model.masks)
        notes = moved_in(new.graph, value, axis, Numbers(mean, std), masks)
        if said is not None and self.options.data == "normalized":
            said = said.model_copy(update=PLAIN)
        changed = bool(notes) or said != model.preprocess
        report = Report(changed, _summary(notes), tuple(notes), _metrics(mean, std))
        out = model.advance(self.stage, network=new.network, masks=masks, preprocess=said)
        return Result(out, report)

    def _numbers(self, model: Model, option: str, depth: object) -> Array:
        """Return mean or std, one number or one per channel, from the options or the archive."""
        given, said = getattr(self.options, option), model.preprocess
        if given is None and (said is None or not normalizes(said)):
            raise RecipeError(
                f"step '{self.name}': nothing says by what to normalize.",
                hint="Give mean and std, or parse the network with them in --preprocess.",
            )
        numbers = np.asarray(getattr(said, option) if given is None else given, np.float64)
        if len(numbers) > 1 and len(numbers) != depth:
            raise RecipeError(
                f"step '{self.name}': {option} has {len(numbers)} values, and the input has"
                f" {depth} channels.",
                hint=f"Give one {option}, or one for each channel.",
            )
        if len(numbers) == 1 and isinstance(depth, int):
            return np.repeat(numbers, depth)
        return numbers

    def _check(self, model: Model, mean: Array, std: Array) -> None:
        """Check that the preprocessing normalizes in this very way, or that it need not."""
        said = model.preprocess
        if said is None or self.options.data == "raw":
            if said is not None and normalizes(said):
                raise RecipeError(
                    f"step '{self.name}': data=raw, and the preprocessing normalizes:"
                    f" '{said.to_text()}'.",
                    hint="Leave data=raw out: the normalization moves into the network.",
                )
            return
        if not (_same(mean, said.mean) and _same(std, said.std)):
            does = f"is '{said.to_text()}'" if normalizes(said) else "does not normalize"
            raise RecipeError(
                f"step '{self.name}': it would normalize by mean {_text(mean)} and std"
                f" {_text(std)}, and the preprocessing {does}.",
                hint="Parse the network with the normalization that it was trained with in"
                " --preprocess; or say data=raw if its samples are raw numbers all the same.",
            )


@dataclass(frozen=True)
class Numbers:
    """mean and std, one number or one per channel each."""

    mean: Array
    std: Array

    def per_channel(self, channels: int) -> tuple[Array, Array]:
        """Return both as `(channels,)`."""
        return np.broadcast_to(self.mean, channels), np.broadcast_to(self.std, channels)


def normalizes(said: Preprocess) -> bool:
    """Whether preprocessing does more than hand pixels over."""
    return any(said.mean) or any(number != 1.0 for number in said.std)


def channel_axis(value: ir.Value, said: Preprocess | None) -> int:
    """Return the axis of an input's channels: 1, or the last where the archive says NHWC."""
    rank = len(shape_of(value))
    last = said is not None and said.layout == "NHWC"
    return rank - 1 if last or rank == 1 else 1


def moved_in(
    graph: ir.Graph,
    value: ir.Value,
    axis: int,
    numbers: Numbers,
    masks: dict[str, NDArray[np.bool_]],
) -> list[LayerNote]:
    """Normalize inside a graph, as near to the layers' own numbers as is exact; in place.

    Args:
        graph: the graph.
        value: its input.
        axis: of the channels.
        numbers: mean and std.
        masks: of pruned weights; gets those of weights that are copied.

    Returns:
        A note for each node that does part of it.
    """
    entries = entry_layers(value) if axis == 1 else None
    if entries is None:
        reasons = ", ".join(sorted({node.op_type for node in readers(value)}))
        front = _in_front(graph, value, axis, numbers.mean, numbers.std)
        why = f"the input is read by {reasons}" if axis == 1 else "channels come last"
        return [LayerNote(name, "added", values={"because": why}) for name in front]
    shifts = bool(numbers.mean.any())
    padded = shifts and any(entry.padded for entry in entries)
    folds = bool((numbers.std != 1.0).any()) or (shifts and not padded)
    notes = [_folded(graph, entry, numbers, masks, centred=padded) for entry in entries if folds]
    if padded:
        one = np.ones(1)
        because = "zeros around a normalized picture are the mean around a raw one"
        for name in _in_front(graph, value, axis, numbers.mean, one):
            notes.append(LayerNote(name, "added", values={"because": because}))
    return notes


def _folded(
    graph: ir.Graph,
    entry: Entry,
    numbers: Numbers,
    masks: dict[str, NDArray[np.bool_]],
    *,
    centred: bool,
) -> LayerNote:
    """Give a layer the weights, and unless its input is centred the bias, for raw numbers."""
    weight = entry.weight
    mean, std = numbers.per_channel(entry.channels)
    own_constant(graph, entry.node, 1, entry.store(scaled(weight, std, entry.groups)), masks)
    if not centred and mean.any():
        ensure_bias(graph, entry.node, len(weight))
        held = constant(entry.node.inputs[2])
        assert held is not None
        bias = held.astype(np.float64) + shift(weight, mean, std, entry.groups)
        own_constant(graph, entry.node, 2, bias.astype(np.float32), masks)
    taken = "std" if centred or not mean.any() else "mean and std"
    return LayerNote(str(entry.node.name), "folded", values={"takes": taken})


def _in_front(
    graph: ir.Graph, value: ir.Value, axis: int, mean: Array, std: Array
) -> tuple[str, ...]:
    """Subtract and divide by ops of their own, each where it does anything."""
    front, shape = Front(graph, value), shape_of(value)
    result = value
    for op, label, numbers, idle in (("Sub", "mean", mean, 0.0), ("Div", "std", std, 1.0)):
        if (numbers != idle).any():
            spread = numbers.reshape(-1, *[1] * (len(shape) - 1 - axis)).astype(np.float32)
            held = front.constant(f"{label}.value", spread)
            result = front.op(op, result, held, label=label, shape=shape)
    front.end(result)
    return front.names


def _summary(notes: list[LayerNote]) -> str:
    folded = [note.layer for note in notes if note.action == "folded"]
    added = [note.layer for note in notes if note.action == "added"]
    parts = [f"folded into {', '.join(folded)}"] if folded else []
    parts += [f"{', '.join(added)} added in front"] if added else []
    return f"The network normalizes raw numbers: {'; '.join(parts) or 'nothing to do'}."


def _metrics(mean: Array, std: Array) -> dict[str, list[float]]:
    return {"mean": mean.tolist(), "std": std.tolist()}


def _same(numbers: Array, said: Sequence[float]) -> bool:
    return len(said) in (1, len(numbers)) and np.allclose(numbers, said, rtol=1e-6)


def _text(numbers: Array) -> str:
    return f"[{','.join(f'{number:g}' for number in numbers)}]"
