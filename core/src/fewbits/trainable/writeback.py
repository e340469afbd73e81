"""From a trained network back to a quantized model."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewbits.bias import bias_encoding, with_room_for_bias
from fewbits.graph import layers, set_constant
from fewbits.model import Encoding, Model
from fewbits.numerics import fake_quantize
from fewbits.trainable.activation import inherited
from fewbits.trainable.layer import TrainableLayer
from fewbits.trainable.network import QuantizedNetwork

#: steps between a weight and its integer at the start: at one half, the first move of an optimizer
#: would undo what the steps before it decided.
_ROOM = 0.25


def trained_model(network: QuantizedNetwork) -> Model:
    """Return the model that a network's parameters stand for, all weights on their grids.

    With parameters that never moved it equals the model that the network was made from, if the
    network started from that model's own weights.
    """
    model = network.model
    new = model.copy()
    encodings = dict(model.encodings)
    for name, activation in network.activations.items():
        encodings[name] = replace(encodings[name], scale=_array(activation.step))
    for name, origin in inherited(model).items():
        encodings[name] = encodings[origin]
    for layer in layers(new.graph):
        part = network.layers.get(layer.name)
        if part is None:
            continue
        source = encodings[str(layer.input.name)]
        weight, bias = _full(part, network.factors)
        on_grid = replace(part.encoding, scale=_array(part.step))
        if layer.bias is not None and bias is not None:
            bits = model.encodings[str(layer.bias.name)].bits
            on_grid = with_room_for_bias(on_grid, bias, source, bits)
            step = bias_encoding(on_grid, source, len(bias), bits)
            set_constant(layer.bias, fake_quantize(bias, step))
            encodings[str(layer.bias.name)] = step
        set_constant(layer.weight, fake_quantize(weight, on_grid))
        encodings[str(layer.weight.name)] = on_grid
    return model.replace(network=new.network, encodings=encodings)


def within_steps(
    full: NDArray[np.floating], rounded: NDArray[np.floating], encoding: Encoding
) -> NDArray[np.float32]:
    """Return what lies closest to `full` within a quarter of a step of `rounded`.

    It rounds to `rounded`: training starts from the weights that a step before it chose, and yet
    knows to which side each of them was rounded.

    Args:
        full: weights in full precision.
        rounded: the same weights on their grid.
        encoding: the grid.
    """
    scale = np.asarray(encoding.scale, np.float64)
    if encoding.axis is not None and scale.ndim:
        shape = [1] * rounded.ndim
        shape[encoding.axis] = -1
        scale = scale.reshape(shape)
    room = _ROOM * scale
    return np.asarray(np.clip(full, rounded - room, rounded + room), np.float32)


def _full(
    part: TrainableLayer, factors: Tensor
) -> tuple[NDArray[np.float32], NDArray[np.float64] | None]:
    with torch.no_grad():
        bias = part.full_bias(factors)
        weight = part.full_weight(factors)
    return _array(weight), None if bias is None else _array(bias).astype(np.float64)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = tensor.detach().cpu().contiguous().numpy()
    return found
