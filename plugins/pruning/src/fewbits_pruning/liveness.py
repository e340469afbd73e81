"""Which channels matter: those that are not always zero, and those that somebody reads.

Channels are taken by class (`fewbits.channels`): channels that an Add or the like ties together
share one, and class 0 holds those that something unknown reads. What commutes with scaling maps
zero to zero, so a class is zero everywhere if its layers write zero.
"""

from collections.abc import Iterable

import numpy as np
from fewbits.channels import Channels, Slot
from fewbits.graph import Layer, clip_bounds, constant
from fewbits.layermatrix import weight_matrix
from numpy.typing import NDArray

Flags = NDArray[np.bool_]


def is_depthwise(layer: Layer) -> bool:
    """Whether each output channel reads the input channel of its own number, and no other."""
    weight = np.asarray(constant(layer.weight))
    return layer.op_type == "Conv" and weight.shape[1] == 1 and len(weight) == layer.groups > 1


def connections(layer: Layer) -> Flags:
    """Return which outputs have a weight other than zero for which inputs, `(out, in)`."""
    weight = weight_matrix(layer, np.asarray(constant(layer.weight)))
    groups, rows, _ = weight.shape
    inputs = _inputs_per_group(layer)
    used = weight.reshape(groups, rows, inputs, -1).any(axis=3)
    found = np.zeros((groups, rows, groups, inputs), np.bool_)
    found[np.arange(groups), :, np.arange(groups)] = used
    return found.reshape(groups * rows, groups * inputs)


def _inputs_per_group(layer: Layer) -> int:
    shape = np.asarray(constant(layer.weight)).shape
    return shape[0] // layer.groups if layer.op_type == "ConvTranspose" else _second(layer, shape)


def _second(layer: Layer, shape: tuple[int, ...]) -> int:
    return shape[1] if layer.op_type == "Conv" else shape[1 - layer.weight_axis]


def silent_outputs(layer: Layer, live_inputs: Flags) -> Flags:
    """Return which output channels are zero whatever the live inputs are, `(out,)`.

    No live input reaches them, and their bias is zero, or negative in front of a ReLU.

    Args:
        layer: a layer.
        live_inputs: `(in,)`.
    """
    bias = np.zeros(layer.out_channels)
    if layer.bias is not None:
        bias = bias + np.asarray(constant(layer.bias), np.float64).reshape(-1)
    bounds = (-np.inf, np.inf) if layer.activation is None else clip_bounds(layer.activation)
    assert bounds is not None
    reached = (connections(layer) & live_inputs).any(axis=1)
    silent: Flags = ~reached & (np.clip(bias, *bounds) == 0.0)
    return silent


def zero_classes(channels: Channels, known: Iterable[int] = ()) -> set[int]:
    """Return the classes that are zero for every input.

    Args:
        channels: what is tied to what.
        known: classes that are zero for another reason.
    """
    shifted = shifted_classes(channels)
    zero = set(known) - shifted - {0}
    reads = {slot.layer.name: slot.classes for slot in channels.readers}
    while True:
        alive: set[int] = {0} | shifted
        for slot in channels.writers:
            inputs = ~np.isin(reads[slot.layer.name], list(zero))
            silent = silent_outputs(slot.layer, inputs)
            alive |= set(slot.classes[~silent].tolist()) - zero
        written = {c for slot in channels.writers for c in slot.classes.tolist()}
        found = zero | (written - alive)
        if found == zero:
            return zero
        zero = found


def unread_classes(channels: Channels) -> set[int]:
    """Return the classes that no layer reads but with weights of zero, or for outputs unread."""
    unread: set[int] = set()
    writes = {slot.layer.name: slot.classes for slot in channels.writers}
    while True:
        read: set[int] = {0}
        for slot in channels.readers:
            outputs = ~np.isin(writes[slot.layer.name], list(unread))
            used = connections(slot.layer)[outputs].any(axis=0)
            read |= set(slot.classes[used].tolist())
        written = {c for slot in channels.writers for c in slot.classes.tolist()}
        found = written - read
        if found == unread:
            return unread
        unread = found


def shifted_classes(channels: Channels) -> set[int]:
    """Return the classes that a constant between layers is added to or compared with."""
    found: set[int] = set()
    for operand in channels.operands:
        if operand.index >= 0:
            found |= set(operand.classes.ravel().tolist())
    return found


def by_name(slots: Iterable[Slot]) -> dict[str, Slot]:
    """Return layer name → slot."""
    return {slot.layer.name: slot for slot in slots}
