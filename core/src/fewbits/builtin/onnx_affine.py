"""Fold per-channel scales and shifts (BatchNormalization, Mul, Add…) into the layer before them.

A layer computes `y = W·x + b`; what follows computes `s·y + t` per output channel. Together:
`W' = s·W` and `b' = s·b + t`, in float64, rounded once.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Affine:
    """`scale · y + shift` per channel, each of shape `(channels,)`."""

    scale: Array
    shift: Array

    def then(self, later: "Affine") -> "Affine":
        """Return the map that does this first and `later` afterwards."""
        return Affine(self.scale * later.scale, self.shift * later.scale + later.shift)


def batchnorm_affine(
    gamma: Array, beta: Array, mean: Array, variance: Array, epsilon: float
) -> Affine:
    """Return BatchNormalization at inference as a scale and a shift.

    `y = γ·(x − μ)/√(σ² + ε) + β`, so the scale is `γ/√(σ² + ε)` and the shift `β − μ·scale`.

    Args:
        gamma: `(channels,)`.
        beta: `(channels,)`.
        mean: `(channels,)`.
        variance: `(channels,)`.
        epsilon: added to the variance.

    Source: Ioffe and Szegedy, "Batch Normalization", 2015, algorithm 2, step 11.

    >>> one = np.ones(1)
    >>> batchnorm_affine(2 * one, one, 3 * one, 3 * one, 1.0)
    Affine(scale=array([1.]), shift=array([-2.]))
    """
    scale = gamma / np.sqrt(variance + epsilon)
    return Affine(scale, beta - mean * scale)


def scaled_weight(op: str, weight: Array, scale: Array, group: int = 1) -> Array:
    """Return the weight with each output channel scaled.

    Args:
        op: `Conv` with weight `(out, in/group, …)`, `ConvTranspose` `(in, out/group, …)`,
            or `Gemm` `(in, out)`; a transposed Gemm counts as `Conv`.
        weight: see `op`.
        scale: `(out,)`.
        group: groups of the convolution.
    """
    if op == "Gemm":
        return weight * scale
    if op == "Conv":
        return weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    kernel = weight.shape[1:]
    blocks = weight.reshape(group, -1, *kernel)
    scales = scale.reshape(group, 1, kernel[0], *[1] * (len(kernel) - 1))
    return (blocks * scales).reshape(weight.shape)


def absorbed(weight: Array, before: Affine, group: int = 1) -> tuple[Array, Array]:
    """Return weight and additional bias of a layer that takes in `before` the values it saw.

    `W·(s·x + t) = (W·s)·x + Σ W·t`, the sum over input channels and kernel positions.

    Args:
        weight: `(out, in/group, …)`.
        before: scale and shift of `(in,)`.
        group: groups of the convolution.

    Returns:
        The weight, of the same shape, and the bias, `(out,)`.
    """
    grouped = weight.reshape(group, -1, *weight.shape[1:])
    along = (group, 1, weight.shape[1], *[1] * (weight.ndim - 2))
    shifts = (grouped * before.shift.reshape(along)).reshape(weight.shape[0], -1).sum(axis=1)
    return (grouped * before.scale.reshape(along)).reshape(weight.shape), shifts


def constant(value: ir.Value | None) -> Array | None:
    """Return a constant's numbers in float64, or None if it is none or not of floats."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    if not value.const_value.dtype.is_floating_point():
        return None
    return value.const_value.numpy().astype(np.float64)


def affine_of(node: ir.Node, source: ir.Value, channels: int) -> Affine | None:
    """Return what `node` does to each channel (axis 1) of `source`, or None if it does more."""
    if node.domain:
        return None
    if node.op_type == "BatchNormalization":
        return _of_batchnorm(node, source)
    if node.op_type in ("Add", "Sub", "Mul", "Div") and len(node.inputs) == 2:
        return _of_arithmetic(node, source, channels)
    return None


def _of_batchnorm(node: ir.Node, source: ir.Value) -> Affine | None:
    training = node.attributes.get_int("training_mode", 0)
    parameters = [constant(v) for v in node.inputs[1:5]]
    if training or node.inputs[0] is not source or any(v.uses() for v in node.outputs[1:]):
        return None
    gamma, beta, mean, variance = parameters
    if gamma is None or beta is None or mean is None or variance is None:
        return None
    return batchnorm_affine(gamma, beta, mean, variance, node.attributes.get_float("epsilon", 1e-5))


def _of_arithmetic(node: ir.Node, source: ir.Value, channels: int) -> Affine | None:
    first = node.inputs[0] is source
    number = _per_channel(constant(node.inputs[1 if first else 0]), source, channels)
    if number is None:
        return None
    one, zero = np.ones(channels), np.zeros(channels)
    match node.op_type:
        case "Add":
            return Affine(one, number)
        case "Mul":
            return Affine(number, zero)
        case "Sub":
            return Affine(one, -number) if first else Affine(-one, number)
        case _:
            return Affine(1 / number, zero) if first and number.all() else None


def _per_channel(number: Array | None, source: ir.Value, channels: int) -> Array | None:
    """Return a constant as `(channels,)` if it varies along axis 1 only, else None."""
    if number is None or source.shape is None or number.ndim > len(source.shape):
        return None
    shape = [1] * (len(source.shape) - number.ndim) + list(number.shape)
    others = shape[:1] + shape[2:]
    if any(d != 1 for d in others) or len(shape) < 2 or shape[1] not in (1, channels):
        return None
    return np.broadcast_to(number.reshape(-1), (channels,))
