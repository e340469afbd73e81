"""How much work and memory a network takes, counted from its shapes."""

import math

import onnx_ir as ir

from fewbits.graph import is_layer


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
