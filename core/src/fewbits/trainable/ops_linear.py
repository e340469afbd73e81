"""Convolutions, matrix products and normalizations in torch."""

from collections.abc import Mapping, Sequence

import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional

from fewbits.graph import int_attribute
from fewbits.integer_ops import transposed_window
from fewbits.trainable.ops_base import (
    Inputs,
    Op,
    axis_of,
    decimal,
    given,
    optional,
    refuse_further_outputs,
    text,
    torch_pads,
    unknown,
)
from fewbits.windows import window

_CONVOLVE = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def conv(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Convolve over one, two or three dimensions, with zeros outside."""
    x, weight, bias = given(inputs, 0), given(inputs, 1), optional(inputs, 2)
    kernel = tuple(weight.shape[2:])
    convolve = _CONVOLVE.get(len(kernel))
    if convolve is None:
        raise unknown(node, f"over {len(kernel)} dimensions")
    place = window(node, kernel, x.shape[2:])
    pads = place.begin
    if place.begin != place.end:  # torch knows only the same padding on both sides
        x = functional.pad(x, torch_pads(place.begin, place.end))
        pads = (0,) * len(kernel)
    groups = int_attribute(node, "group", 1)
    return (convolve(x, weight, bias, place.strides, pads, place.dilations, groups),)


def conv_transpose(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Add each element's kernel to the output; the padding is cut off there."""
    x, weight, bias = given(inputs, 0), given(inputs, 1), optional(inputs, 2)
    kernel = tuple(weight.shape[2:])
    convolve = _TRANSPOSED.get(len(kernel))
    if convolve is None:
        raise unknown(node, f"over {len(kernel)} dimensions")
    place, full = transposed_window(node, kernel, tuple(x.shape[2:]))
    sizes = zip(full, x.shape[2:], place.strides, place.extents, strict=True)
    more = [f - (s * (i - 1) + extent) for f, i, s, extent in sizes]
    same = place.begin == place.end and min(place.begin) >= 0
    pads = place.begin if same else (0,) * len(kernel)
    groups = int_attribute(node, "group", 1)
    y = convolve(x, weight, bias, place.strides, pads, more, groups, place.dilations)
    if not same:
        y = functional.pad(y, [-n for n in torch_pads(place.begin, place.end)])
    return (y,)


def gemm(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Return `alpha · a b + beta · c`."""
    a, b, c = given(inputs, 0), given(inputs, 1), optional(inputs, 2)
    a = a.T if int_attribute(node, "transA", 0) else a
    b = b.T if int_attribute(node, "transB", 0) else b
    alpha, beta = decimal(node, "alpha", 1.0), decimal(node, "beta", 1.0)
    if c is None:
        y = a @ b
        return (y if alpha == 1.0 else y * alpha,)
    return (torch.addmm(c, a, b, beta=beta, alpha=alpha),)


def einsum(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Sum products of elements over the indices that the equation drops."""
    operands = [given(inputs, place) for place in range(len(inputs))]
    return (torch.einsum(text(node, "equation", ""), *operands),)


def batch_norm(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Scale and shift each channel by statistics that are known."""
    if int_attribute(node, "training_mode", 0):
        raise unknown(node, "with training_mode=1")
    x, gamma, beta, mean, variance = (given(inputs, place) for place in range(5))
    epsilon = decimal(node, "epsilon", 1e-5)
    return (functional.batch_norm(x, mean, variance, gamma, beta, False, 0.0, epsilon),)


def group_norm(node: ir.Node, inputs: Inputs, groups: int) -> Sequence[Tensor]:
    """Normalize each sample's groups of channels, then scale and shift each channel."""
    x, gamma, beta = (given(inputs, place) for place in range(3))
    return (torch.group_norm(x, groups, gamma, beta, decimal(node, "epsilon", 1e-5)),)


def layer_norm(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Normalize over the axes from `axis` on, then scale and shift each element."""
    refuse_further_outputs(node)
    x, gamma, beta = given(inputs, 0), given(inputs, 1), optional(inputs, 2)
    shape = x.shape[axis_of(node, x.ndim, -1) :]
    epsilon = decimal(node, "epsilon", 1e-5)
    if gamma.shape == shape and (beta is None or beta.shape == shape):
        return (functional.layer_norm(x, shape, gamma, beta, epsilon),)
    y = functional.layer_norm(x, shape, eps=epsilon) * gamma
    return (y if beta is None else y + beta,)


def lp_norm(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Divide by the norm along an axis; what is zero stays zero."""
    x = given(inputs, 0)
    norm = torch.linalg.vector_norm(
        x, int_attribute(node, "p", 2), axis_of(node, x.ndim, -1), keepdim=True
    )
    return (x / norm.masked_fill(norm == 0, 1.0),)


def local_response(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Return `x / (bias + alpha/size · Σ x²)^beta`, the sum over neighbouring channels."""
    size = int_attribute(node, "size", 1)
    if size % 2 == 0:  # torch puts the odd neighbour on the other side
        raise unknown(node, f"with size={size}")
    factors = (decimal(node, n, d) for n, d in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    return (functional.local_response_norm(given(inputs, 0), size, *factors),)


LINEAR: Mapping[str, Op] = {
    "BatchNormalization": batch_norm,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Einsum": einsum,
    "Gemm": gemm,
    "GroupNormalization": lambda n, x: group_norm(n, x, int_attribute(n, "num_groups", 1)),
    "InstanceNormalization": lambda n, x: group_norm(n, x, given(x, 0).shape[1]),
    "LRN": local_response,
    "LayerNormalization": layer_norm,
    "LpNormalization": lp_norm,
    "MatMul": lambda node, inputs: (given(inputs, 0) @ given(inputs, 1),),
}
