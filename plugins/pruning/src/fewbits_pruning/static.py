"""The algorithm `static_channels`: channels that never change become zero and a bias."""

from collections.abc import Mapping

import numpy as np
from fewbits.bias import expected_shift
from fewbits.channels import Channels, Slot, find_channels
from fewbits.graph import Layer, constant, ensure_bias, layers, set_constant, unshare_constants
from fewbits.interfaces import Algorithm, Context, Result
from fewbits.model import Model, Stage
from fewbits.options import Options as BaseOptions
from fewbits.provenance import LayerNote, Report
from fewbits.windows import numbers, text
from numpy.typing import NDArray
from pydantic import Field

from fewbits_pruning.constancy import Still, constant_channels
from fewbits_pruning.liveness import by_name, shifted_classes


class StaticChannelsOptions(BaseOptions):
    """Options of `static_channels`."""

    tolerance: float = Field(
        0.0,
        ge=0.0,
        lt=1.0,
        description="How far a channel may move and still count as constant, as a share of the "
        "range of all channels together.",
    )


class StaticChannels(Algorithm):
    """Zeroes channels that are constant over the calibration data.

    What reads them gets `W[:, c]·k` in its bias instead, which is exact while they are constant:
    where `k` is zero, or where no padding lies beside it.
    """

    name = "static_channels"
    stage = Stage.OPTIMIZED
    needs_calibration = True
    Options = StaticChannelsOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the model with these channels at zero; `dead_channels` then takes them out.

        Raises:
            DataError: there is no calibration data.
        """
        context.need_calibration(self.name)
        new = model.copy()
        copies = unshare_constants(new.graph)
        masks = {copy: model.masks[name] for copy, name in copies.items() if name in model.masks}
        new = new.replace(masks={**model.masks, **masks})
        channels = find_channels(new.graph)
        still = constant_channels(new, channels, context, self.options.tolerance)
        reasons = _reasons(channels, still)
        chosen = _with_something_to_do(channels, set(still.classes) - set(reasons))
        report = _report(channels, chosen, reasons)
        if not chosen:
            return Result(model.advance(self.stage, network=model.copy().network), report)
        _fold(new, channels, still, chosen)
        return Result(model.advance(self.stage, network=new.network, masks=new.masks), report)


def _reasons(channels: Channels, still: Still) -> dict[int, str]:
    """Return class → why it is left alone though it is constant."""
    found = dict.fromkeys(shifted_classes(channels), "a constant is added to it")
    for slot in channels.readers:
        name = slot.layer.name
        if name not in still.values:
            continue
        why = _cannot_fold(slot.layer)
        if why:
            moved = slot.classes[still.values[name] != 0.0]
            found |= dict.fromkeys(moved.tolist(), why)
    return {c: why for c, why in found.items() if c in still.classes}


def _cannot_fold(layer: Layer) -> str:
    """Return why a layer cannot take up a constant other than zero; empty if it can."""
    if layer.op_type not in ("Conv", "Gemm"):
        return f"'{layer.name}' is a {layer.op_type}"
    pads = numbers(layer.node, "pads", ())
    if any(pads) or text(layer.node, "auto_pad", "NOTSET").startswith("SAME"):
        return f"'{layer.name}' pads with zeros beside it"
    return ""


def _with_something_to_do(channels: Channels, classes: set[int]) -> set[int]:
    """Leave out classes whose layers write zeros already."""
    busy: set[int] = set()
    for slot in channels.writers:
        busy |= set(slot.classes[_written(slot.layer)].tolist())
    return classes & busy


def _written(layer: Layer) -> NDArray[np.bool_]:
    """Return which output channels have a weight or a bias, `(out,)`."""
    weight = np.asarray(constant(layer.weight))
    axes = tuple(axis for axis in range(weight.ndim) if axis != layer.weight_axis)
    used = np.asarray(weight.any(axis=axes), np.bool_)
    used = np.tile(used, layer.out_channels // used.size)
    if layer.bias is not None:
        used = used | (np.asarray(constant(layer.bias)).reshape(-1) != 0)
    return used


def _fold(model: Model, channels: Channels, still: Still, chosen: set[int]) -> None:
    """Zero the channels where they are written, and put their constants where they are read."""
    reads, writes = by_name(channels.readers), by_name(channels.writers)
    for layer in list(layers(model.graph)):
        _take_up(model, layer, reads[layer.name], still, chosen)
    for layer in list(layers(model.graph)):
        gone = np.isin(writes[layer.name].classes, list(chosen))
        if gone.any():
            _silence(layer, gone)


def _take_up(model: Model, layer: Layer, slot: Slot, still: Still, chosen: set[int]) -> None:
    gone = np.isin(slot.classes, list(chosen))
    if layer.name not in still.values or not gone.any():
        return
    values = np.where(gone, still.values[layer.name], 0.0)
    if not values.any():
        return
    weight = np.asarray(constant(layer.weight))
    if layer.op_type == "Gemm" and layer.weight_axis == 1:
        weight = weight.T
    shift = expected_shift(weight, values, layer.op_type, layer.groups)
    ensure_bias(model.graph, layer.node, layer.out_channels)
    bias = layer.node.inputs[2]
    assert bias is not None
    held = np.asarray(constant(bias))
    set_constant(bias, (held.reshape(-1).astype(np.float64) + shift).astype(held.dtype))


def _silence(layer: Layer, gone: NDArray[np.bool_]) -> None:
    weight = np.asarray(constant(layer.weight))
    if layer.op_type == "ConvTranspose":
        groups, size = layer.groups, weight.shape[1]
        split = weight.reshape(groups, -1, *weight.shape[1:]).copy()
        for channel in np.flatnonzero(gone):
            split[channel // size, :, channel % size] = 0
        set_constant(layer.weight, split.reshape(weight.shape))
    else:
        shape = [1] * weight.ndim
        shape[layer.weight_axis] = -1
        set_constant(layer.weight, np.where(gone.reshape(shape), 0, weight).astype(weight.dtype))
    bias = layer.node.inputs[2] if len(layer.node.inputs) > 2 else None
    if bias is not None:
        held = np.asarray(constant(bias)).reshape(-1)
        set_constant(bias, np.where(gone, 0, held).astype(held.dtype))


def _report(channels: Channels, chosen: set[int], reasons: Mapping[int, str]) -> Report:
    notes, total = [], 0
    reads = by_name(channels.readers)
    for slot in channels.writers:
        count = int(np.isin(slot.classes, list(chosen)).sum())
        taken = int(np.isin(reads[slot.layer.name].classes, list(chosen)).sum())
        total += count
        values = {"zeroed": count, "inputs_zeroed": taken}
        kept = next((reasons[c] for c in slot.classes.tolist() if c in reasons), "")
        if count:
            notes.append(LayerNote(slot.layer.name, "zeroed", kept, values))
        else:
            why = kept or "none of its channels is constant"
            notes.append(LayerNote(slot.layer.name, "left alone", why, values))
    return Report(
        changed=bool(chosen),
        summary=f"{total} channels are constant and became zero; their constants are in biases.",
        layers=tuple(notes),
        metrics={"channels": total, "left_alone": len(reasons)},
    )
