"""High-bias absorption: a constant part of every value moves into the next layer's bias."""

from collections.abc import Iterator, Mapping

import numpy as np
import onnx_ir as ir
from fewbits.graph import Layer, constant, is_layer, layers, only_reader, set_constant
from fewbits.kernels import in_channels

from fewbits_equalization.factors import Vector


def absorbing(graph: ir.Graph) -> Iterator[Layer]:
    """Yield the layers with a bias and a ReLU that one unpadded layer with a bias reads alone."""
    by_node = {layer.node: layer for layer in layers(graph)}
    for layer in by_node.values():
        behind = only_reader(layer.output)
        if layer.activation is None or layer.activation.op_type != "Relu" or layer.bound:
            continue
        next_one = by_node.get(behind) if behind is not None and is_layer(behind) else None
        if layer.bias is not None and next_one is not None and _takes(next_one):
            yield layer


def _takes(layer: Layer) -> bool:
    pads = layer.node.attributes.get("pads")
    padded = "auto_pad" in layer.node.attributes or (pads is not None and any(pads.as_ints()))
    return layer.op_type in ("Conv", "Gemm") and layer.bias is not None and not padded


def absorb(graph: ir.Graph, lows: Mapping[str, Vector]) -> dict[str, int]:
    """Move `c = max(0, low)` of each channel into the next layer's bias, in place.

    `relu(z) = relu(z − c) + c` wherever `z ≥ c` (Nagel et al. 2019, section 4.1.3, with the
    smallest value seen in place of `β − 3γ`): `b₁ −= c`, `b₂ += W₂ c`.

    Args:
        graph: whose layers `absorbing` yields.
        lows: layer → smallest value of each channel before its ReLU, `(channels,)`.

    Returns:
        Layer → number of channels.
    """
    moved: dict[str, int] = {}
    by_node = {layer.node: layer for layer in layers(graph)}
    for layer in list(absorbing(graph)):
        shift = np.maximum(lows[layer.name], 0.0)
        behind = only_reader(layer.output)
        if not shift.any() or behind is None:
            continue
        _add_to_bias(layer, -shift)
        _add_to_bias(by_node[behind], _effect(by_node[behind], shift))
        moved[layer.name] = int(np.count_nonzero(shift))
    return moved


def _add_to_bias(layer: Layer, change: Vector) -> None:
    assert layer.bias is not None
    bias = np.asarray(constant(layer.bias), np.float64)
    set_constant(layer.bias, (bias + change.reshape(bias.shape)).astype(np.float32))


def _effect(layer: Layer, shift: Vector) -> Vector:
    """Return what a constant in each input channel adds to each output channel, `(out,)`."""
    weight = np.asarray(constant(layer.weight), np.float64)
    if layer.op_type == "Gemm":
        found: Vector = (weight if layer.weight_axis == 0 else weight.T) @ shift
        return found
    taps = weight.sum(axis=tuple(range(2, weight.ndim))).reshape(layer.groups, -1, weight.shape[1])
    parts = shift.reshape(layer.groups, in_channels(layer) // layer.groups)
    found = np.einsum("goi,gi->go", taps, parts).ravel()
    return found
