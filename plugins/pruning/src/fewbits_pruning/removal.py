"""Takes channels out of a graph: out of weights, biases, masks and shapes, exactly."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from fewbits.channels import Channels
from fewbits.graph import Layer, constant, layers, set_constant, values_by_name
from fewbits.model import Model
from numpy.typing import NDArray

from fewbits_pruning.liveness import by_name, is_depthwise, shifted_classes

#: ops that do what they did when their tensors lose channels along axis 1.
CROSSED = frozenset(
    {"Conv", "Gemm", "Relu", "LeakyRelu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool"}
    | {"GlobalMaxPool", "Add", "Sub", "Max", "Min", "Flatten", "Concat", "Identity", "Dropout"}
)
Flags = NDArray[np.bool_]


def removable(
    graph: ir.Graph, channels: Channels, wanted: Iterable[int]
) -> tuple[set[int], dict[int, str]]:
    """Return which of the wanted classes can be taken out, and why not the others.

    Args:
        graph: what `channels` was found in.
        channels: what is tied to what.
        wanted: classes that do not matter.
    """
    chosen = set(wanted)
    reasons: dict[int, str] = {}
    while True:
        bad = {c: why for c, why in _obstacles(graph, channels, chosen) if c in chosen}
        if not bad:
            return chosen, reasons
        reasons |= bad
        chosen -= set(bad)


def _obstacles(graph: ir.Graph, channels: Channels, chosen: set[int]) -> Iterable[tuple[int, str]]:
    """Yield class and reason for whatever cannot lose its channels."""
    listed = list(chosen)
    yield from ((c, "a constant is added to it") for c in shifted_classes(channels))
    reads = by_name(channels.readers)
    for slot in channels.writers:
        layer, ins = slot.layer, reads[slot.layer.name].classes
        if is_depthwise(layer):
            lone = np.isin(ins, listed) != np.isin(slot.classes, listed)
            touched = np.concatenate([ins[lone], slot.classes[lone]])
            why = f"only one side of the depthwise layer '{layer.name}' can go"
        elif layer.groups > 1 or layer.op_type not in ("Conv", "Gemm"):
            touched = np.concatenate([ins, slot.classes])
            why = f"'{layer.name}' is a {layer.op_type} with {layer.groups} groups"
        else:
            continue
        yield from ((int(c), why) for c in np.unique(touched))
    for node in graph:
        held = [channels.tensors.get(str(v.name)) for v in (*node.inputs, *node.outputs) if v]
        here = {c for ids in held if ids is not None for c in np.unique(ids).tolist()} & chosen
        if node.op_type not in CROSSED:
            yield from ((c, f"'{node.name}' is a {node.op_type}") for c in here)
    values = values_by_name(graph)
    for name, ids in channels.tensors.items():
        gone = np.isin(ids, listed)
        if gone.any() and not _is_clean(gone, values[name]):
            yield from ((int(c), f"'{name}' would be left empty or torn") for c in np.unique(ids))


def _is_clean(gone: Flags, value: ir.Value) -> bool:
    """Whether what goes is some, not all, of the places along axis 1."""
    if value.shape is None or gone.ndim < 2 or gone.shape[1] != value.shape[1]:
        return False
    others = tuple(axis for axis in range(gone.ndim) if axis != 1)
    along = gone.any(axis=others)
    return bool(np.array_equal(along, gone.all(axis=others)) and not along.all())


@dataclass(frozen=True)
class Cut:
    """What a layer keeps.

    Args:
        outputs: `(out,)`.
        inputs: `(in,)`.
    """

    outputs: Flags
    inputs: Flags

    @property
    def whole(self) -> bool:
        """Whether nothing goes."""
        return bool(self.outputs.all() and self.inputs.all())


def cuts(channels: Channels, chosen: set[int]) -> dict[str, Cut]:
    """Return layer name → what it keeps."""
    reads, listed = by_name(channels.readers), list(chosen)
    return {
        slot.layer.name: Cut(
            ~np.isin(slot.classes, listed), ~np.isin(reads[slot.layer.name].classes, listed)
        )
        for slot in channels.writers
    }


def remove(model: Model, channels: Channels, chosen: set[int]) -> Model:
    """Take classes out of the model's graph, in place, and return it with its masks cut.

    Args:
        model: a copy that may be changed, in whose graph `channels` was found.
        channels: what is tied to what.
        chosen: classes that `removable` allows.
    """
    masks = dict(model.masks)
    what = cuts(channels, chosen)
    for layer in list(layers(model.graph)):
        cut = what[layer.name]
        if not cut.whole:
            _cut_layer(layer, cut, masks)
    values = values_by_name(model.graph)
    for name, ids in channels.tensors.items():
        gone = np.isin(ids, list(chosen))
        if gone.any():
            _shrink(values[name], gone)
    return model.replace(masks=masks)


def _cut_layer(layer: Layer, cut: Cut, masks: dict[str, NDArray[np.bool_]]) -> None:
    depthwise = is_depthwise(layer)
    weight, name = np.asarray(constant(layer.weight)), str(layer.weight.name)
    set_constant(layer.weight, _kept(layer, weight, cut, depthwise))
    if name in masks:
        masks[name] = _kept(layer, masks[name], cut, depthwise)
    if layer.bias is not None:
        set_constant(layer.bias, np.asarray(constant(layer.bias)).reshape(-1)[cut.outputs])
    if depthwise:
        count = int(cut.outputs.sum())
        layer.node.attributes["group"] = ir.AttrInt64("group", count)


def _kept(layer: Layer, array: NDArray[Any], cut: Cut, depthwise: bool) -> NDArray[Any]:
    axis = layer.weight_axis
    rows = np.compress(cut.outputs, array, axis)
    return rows if depthwise else np.compress(cut.inputs, rows, 1 - axis)


def _shrink(value: ir.Value, gone: Flags) -> None:
    assert value.shape is not None
    sizes = list(value.shape)
    width = sizes[1]
    assert isinstance(width, int)
    sizes[1] = width - int(gone.any(axis=tuple(a for a in range(gone.ndim) if a != 1)).sum())
    value.shape = ir.Shape(sizes)


def why_kept(channels: Channels, reasons: Mapping[int, str], layer: Layer) -> str:
    """Return why the first dead channel of a layer stays; empty when it has none."""
    classes = by_name(channels.writers)[layer.name].classes
    return next((reasons[c] for c in classes.tolist() if c in reasons), "")
