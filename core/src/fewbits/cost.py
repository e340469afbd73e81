"""How much work and memory a network takes, counted from its shapes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from fewbits.graph import is_layer
from fewbits.model import Encoding, Model


def elements(value: ir.Value | None) -> int:
    """Return the number of elements of a tensor for one sample; 0 when its shape is unknown."""
    if value is None or value.shape is None:
        return 0
    return math.prod(d if isinstance(d, int) else 1 for d in value.shape)


def macs(node: ir.Node) -> int:
    """Return a layer's multiply-accumulates for one sample; 0 for any other node.

    A Conv costs `out elements · in/groups · kh · kw`; a ConvTranspose `in elements · out/groups ·
    kh · kw`; Gemm and MatMul `out elements · in`.
    """
    if not is_layer(node):
        return 0
    weight = node.inputs[1]
    shape = [d for d in (weight.shape if weight is not None else None) or () if isinstance(d, int)]
    if node.op_type == "Conv":
        return elements(node.outputs[0]) * math.prod(shape[1:])
    if node.op_type == "ConvTranspose":
        return elements(node.inputs[0]) * math.prod(shape[1:])
    outputs = elements(node.outputs[0])
    return outputs * elements(weight) // max(_width(node.outputs[0]), 1)


def work(node: ir.Node) -> int:
    """Return a node's operations for one sample: multiply-accumulates, or elements written."""
    return macs(node) or sum(elements(value) for value in node.outputs)


def _width(value: ir.Value) -> int:
    last = value.shape[-1] if value.shape else 1
    return last if isinstance(last, int) else 1


@dataclass(frozen=True)
class Cost:
    """Totals over a network, for one sample.

    Args:
        layers: weighted ops.
        parameters: numbers in the initializers.
        macs: multiply-accumulates; None when a shape is not known.
        bytes_float: size of the parameters in float32.
        bytes_quantized: size at the bits of their encodings, those without one in float32.
    """

    layers: int
    parameters: int
    macs: int | None
    bytes_float: int
    bytes_quantized: int


def cost(model: Model) -> Cost:
    """Count what `model` costs for one sample."""
    work = [macs(node) for node in model.graph if is_layer(node)]
    sizes = {name: elements(value) for name, value in model.graph.initializers.items()}
    return Cost(
        layers=len(work),
        parameters=sum(sizes.values()),
        macs=sum(work) if all(work) else None,
        bytes_float=4 * sum(sizes.values()),
        bytes_quantized=quantized_bytes(sizes, model.encodings),
    )


def quantized_bytes(sizes: Mapping[str, int], encodings: Mapping[str, Encoding]) -> int:
    """Return the bytes of tensors at the bits of their encodings; 32 bits for those without.

    Args:
        sizes: tensor name → number of elements.
        encodings: tensor name → encoding.

    >>> quantized_bytes({"a": 3, "b": 2}, {})
    20
    """
    bits = (
        count * (encodings[name].bits if name in encodings else 32) for name, count in sizes.items()
    )
    return math.ceil(sum(bits) / 8)
