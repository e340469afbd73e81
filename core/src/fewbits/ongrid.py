"""Single tensors of a float network put onto the grids that they have in a quantized model."""

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from fewbits.emulate import insert_qdq
from fewbits.graph import constant, layers, set_constant, values_by_name
from fewbits.model import Model, Stage
from fewbits.numerics import fake_quantize


def put_on_grid(network: ir.Model, quantized: Model, names: Iterable[str]) -> ir.Model:
    """Quantize some tensors of a network and leave all others in float.

    A constant gets the contents that it has in the quantized model, on its grid; QuantizeLinear
    and DequantizeLinear go behind an activation. Names without an encoding are passed over, and
    so are those that this part of the network does not hold.

    It is for the tensors of one layer: between two activations on grids ONNX Runtime runs a layer
    in integers and rounds a float weight by itself.

    Args:
        network: in float, the quantized model's or a part of it; it is changed.
        quantized: at stage `quantized`; it is not changed.
        names: of tensors.

    Returns:
        The network.
    """
    values = values_by_name(network.graph)
    for name in names:
        encoding, value = quantized.encodings.get(name), values.get(name)
        if encoding is None or value is None:
            continue
        held = constant(quantized.graph.initializers.get(name))
        if held is None:
            insert_qdq(network.graph, value, encoding)
        else:
            set_constant(value, fake_quantize(np.asarray(held, np.float64), encoding))
    network.graph.sort()
    return network


def float_twin(quantized: Model) -> ir.Model:
    """Return a quantized model's network with the float contents that it came from.

    It computes what the float model computes, and has the nodes and constants of the quantized
    one: a bias that the quantizer added is there, zero.
    """
    network = quantized.network.clone()
    origin = {layer.name: layer for layer in layers(quantized.at(Stage.OPTIMIZED).graph)}
    for layer in list(layers(network.graph)):
        known = origin.get(layer.name)
        if known is None:
            continue
        weight, bias = constant(known.weight), constant(known.bias)
        assert weight is not None
        set_constant(layer.weight, weight)
        if layer.bias is not None:
            zeros = np.zeros(layer.out_channels, np.float32)
            set_constant(layer.bias, zeros if bias is None else np.broadcast_to(bias, zeros.shape))
    return network
