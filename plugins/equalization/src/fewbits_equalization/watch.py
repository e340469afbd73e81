"""What equalization has to know of a network's values over the calibration samples."""

from collections.abc import Mapping

import numpy as np
from fewbits.calibration import TensorStatistics, collect
from fewbits.channels import Channels
from fewbits.interfaces import Context
from fewbits.model import Model
from fewbits.ties import Ids

from fewbits_equalization.absorb import absorbing
from fewbits_equalization.factors import Vector


def watched(model: Model, channels: Channels, context: Context) -> Mapping[str, TensorStatistics]:
    """Return the extremes by channel of what layers write, and of what an Add makes of it.

    Layers are watched behind their activations.
    """
    outputs = {str(slot.layer.output.name) for slot in channels.writers}
    outputs |= {str(n.outputs[0].name) for n in model.graph if n.op_type in ("Add", "Sub")}
    names = [name for name in channels.tensors if name in outputs]
    names = [n for n in names if channels.tensors[n].ndim > 1 and _on_axis_1(channels.tensors[n])]
    return collect(model, names, context, magnitudes=names)


def lows_before(model: Model, channels: Channels, context: Context) -> dict[str, Vector]:
    """Return how far each channel falls below zero before its layer's activation, by layer.

    `p = max(−min z, 0)`, `(channels,)`, of layers with an activation behind them.
    """
    named = {
        slot.layer.name: str(slot.layer.node.outputs[0].name)
        for slot in channels.writers
        if slot.layer.activation is not None
    }
    return {name: np.maximum(-low, 0.0) for name, low in _lows(model, named, context).items()}


def lows_before_relus(model: Model, context: Context) -> dict[str, Vector]:
    """Return the smallest value in each channel before its layer's ReLU, by layer."""
    named = {layer.name: str(layer.node.outputs[0].name) for layer in absorbing(model.graph)}
    return _lows(model, named, context)


def _lows(model: Model, named: Mapping[str, str], context: Context) -> dict[str, Vector]:
    found = collect(model, named.values(), context, channels=set(named.values()))
    lows = {name: found[output].channel_low for name, output in named.items()}
    return {name: np.asarray(low, np.float64) for name, low in lows.items() if low is not None}


def _on_axis_1(classes: Ids) -> bool:
    return bool(classes.size == classes.shape[1])
