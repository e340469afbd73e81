"""What a network costs: parameters, multiply-accumulates and bytes, from its shapes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from fewbits.model import Encoding, Model

#: ops whose second input is multiplied with the first.
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Cost:
    """Totals over a network, for one sample.

    Args:
        layers: weighted ops.
        parameters: numbers in the initializers.
        macs: multiply-accumulates; None when a shape is not known.
        bytes_float: size of the parameters as they stand in float32.
        bytes_quantized: size at the bits of their encodings, those without one in float32.
    """

    layers: int
    parameters: int
    macs: int | None
    bytes_float: int
    bytes_quantized: int


def cost(model: Model) -> Cost:
    """Count what `model` costs for one sample."""
    nodes = [node for node in model.graph if node.op_type in WEIGHTED]
    macs = [node_macs(node) for node in nodes]
    sizes = {
        name: math.prod(_static(value.shape) or ())
        for name, value in model.graph.initializers.items()
    }
    known = [count for count in macs if count is not None]
    return Cost(
        layers=len(nodes),
        parameters=sum(sizes.values()),
        macs=sum(known) if len(known) == len(macs) else None,
        bytes_float=4 * sum(sizes.values()),
        bytes_quantized=_quantized_bytes(sizes, model.encodings),
    )


def _quantized_bytes(sizes: Mapping[str, int], encodings: Mapping[str, Encoding]) -> int:
    bits = (
        count * (encodings[name].bits if name in encodings else 32) for name, count in sizes.items()
    )
    return math.ceil(sum(bits) / 8)


def node_macs(node: ir.Node) -> int | None:
    """Return a weighted op's multiply-accumulates for one sample, None if a shape is unknown.

    A convolution does `out elements · in channels / group · kernel elements`, a transposed one
    `in elements · out channels / group · kernel elements`, a product `out elements · K`.
    """
    data, weight, output = node.inputs[0], node.inputs[1], node.outputs[0]
    if data is None or weight is None or weight.shape is None:
        return None
    kernel, entered, left = _static(weight.shape), _sample(data), _sample(output)
    if kernel is None or entered is None or left is None:
        return None
    if node.op_type == "Conv":
        return math.prod(left) * math.prod(kernel[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(entered) * math.prod(kernel[1:])
    return math.prod(left) * entered[-1]


def _static(shape: ir.Shape | None) -> tuple[int, ...] | None:
    if shape is None or not all(isinstance(dim, int) for dim in shape):
        return None
    return tuple(int(dim) for dim in shape if isinstance(dim, int))


def _sample(value: ir.Value) -> tuple[int, ...] | None:
    """Return a value's shape for one sample: without its first dimension, the batch."""
    if value.shape is None or len(value.shape) < 2:
        return None
    return _static(ir.Shape(list(value.shape)[1:]))
