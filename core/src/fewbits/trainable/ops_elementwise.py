"""Arithmetic, comparisons and activations in torch, element by element."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional

from fewbits.graph import int_attribute
from fewbits.trainable.ops_base import (
    Inputs,
    Op,
    axis_of,
    decimal,
    given,
    optional,
    text,
    unknown,
)

_TYPES = {
    "BFLOAT16": torch.bfloat16,
    "BOOL": torch.bool,
    "DOUBLE": torch.float64,
    "FLOAT": torch.float32,
    "FLOAT16": torch.float16,
    "INT16": torch.int16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "INT8": torch.int8,
    "UINT8": torch.uint8,
}


def each(function: Callable[..., Tensor]) -> Op:
    """Return the op that is a function of its inputs alone."""
    return lambda node, inputs: (function(*inputs),)


def with_factors(function: Callable[..., Tensor], **defaults: float) -> Op:
    """Return the op that is a function of one input and of attributes that are real numbers.

    Args:
        function: takes the input and the attributes, in this order.
        defaults: name of each attribute → its value where it is left out.
    """

    def op(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
        factors = (decimal(node, name, default) for name, default in defaults.items())
        return (function(given(inputs, 0), *factors),)

    return op


def all_of(function: Callable[[Tensor, Tensor], Tensor]) -> Op:
    """Return the op that joins any number of inputs, two at a time."""
    return lambda node, inputs: (reduce(function, [x for x in inputs if x is not None]),)


def along_axis(function: Callable[..., Tensor]) -> Op:
    """Return the op that is a function of one input and an axis, the last by default."""
    return lambda node, inputs: (
        function(given(inputs, 0), dim=axis_of(node, given(inputs, 0).ndim, -1)),
    )


def divide(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Divide; whole numbers are cut off towards zero."""
    a, b = given(inputs, 0), given(inputs, 1)
    return (torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc"),)


def power(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Raise to a power; the type stays that of the base."""
    base, exponent = given(inputs, 0), given(inputs, 1)
    return (torch.pow(base, exponent).to(base.dtype),)


def modulo(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Return the rest, with the divisor's sign, or with `fmod` the dividend's."""
    function = torch.fmod if int_attribute(node, "fmod", 0) else torch.remainder
    return (function(given(inputs, 0), given(inputs, 1)),)


def mean(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Return the mean of any number of tensors, element by element."""
    (total,) = all_of(torch.add)(node, inputs)
    return (total / len(inputs),)


def clip(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Keep between two bounds, each of which may be left out."""
    x, low, high = given(inputs, 0), optional(inputs, 1), optional(inputs, 2)
    if low is None and high is None:
        return (x,)
    if any(b is not None and (b.requires_grad or not b.is_cpu) for b in (low, high)):
        return (torch.clamp(x, low, high),)
    plain = (None if b is None else b.item() for b in (low, high))  # several times faster
    return (torch.clamp(x, *plain),)


def parametric_relu(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Multiply negative values by a slope that broadcasts to them."""
    x, slope = given(inputs, 0), given(inputs, 1)
    return (torch.where(x < 0, x * slope, x),)


def gelu(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Return `x · Φ(x)`, or its approximation by tanh."""
    return (functional.gelu(given(inputs, 0), approximate=text(node, "approximate", "none")),)


def cast(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Change the type of the numbers."""
    return (given(inputs, 0).to(torch_type(node, int_attribute(node, "to", 1))),)


def torch_type(node: ir.Node, number: int) -> torch.dtype:
    """Return torch's type for one of ONNX's."""
    name = ir.DataType(number).name
    if name not in _TYPES:
        raise unknown(node, f"to {name}")
    return _TYPES[name]


def _negative(x: Tensor, slope: float) -> Tensor:
    return functional.leaky_relu(x, slope)


def _selu(x: Tensor, alpha: float, gamma: float) -> Tensor:
    return functional.elu(x, alpha) * gamma


def _hard_sigmoid(x: Tensor, alpha: float, beta: float) -> Tensor:
    return (x * alpha + beta).clamp(0.0, 1.0)


def _above(x: Tensor, alpha: float) -> Tensor:
    return functional.threshold(x, alpha, 0.0)


def _shrink(x: Tensor, lambd: float, bias: float) -> Tensor:
    return torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, 0.0))


ARITHMETIC: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Add": torch.add,
    "And": torch.logical_and,
    "Asin": torch.asin,
    "Atan": torch.atan,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Equal": torch.eq,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "HardSwish": functional.hardswish,
    "Identity": lambda x: x,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Log": torch.log,
    "Mish": functional.mish,
    "Mul": torch.mul,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Or": torch.logical_or,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": functional.softplus,
    "Softsign": functional.softsign,
    "Sqrt": torch.sqrt,
    "Sub": torch.sub,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
    "Where": torch.where,
    "Xor": torch.logical_xor,
}

ELEMENTWISE: Mapping[str, Op] = {
    **{name: each(function) for name, function in ARITHMETIC.items()},
    "Cast": cast,
    "CastLike": each(lambda x, like: x.to(like.dtype)),
    "Celu": with_factors(functional.celu, alpha=1.0),
    "Clip": clip,
    "Div": divide,
    "Elu": with_factors(functional.elu, alpha=1.0),
    "Gelu": gelu,
    "HardSigmoid": with_factors(_hard_sigmoid, alpha=0.2, beta=0.5),
    "LeakyRelu": with_factors(_negative, alpha=0.01),
    "LogSoftmax": along_axis(functional.log_softmax),
    "Max": all_of(torch.maximum),
    "Mean": mean,
    "Min": all_of(torch.minimum),
    "Mod": modulo,
    "PRelu": parametric_relu,
    "Pow": power,
    "Selu": with_factors(_selu, alpha=1.6732632423543772, gamma=1.0507009873554805),
    "Shrink": with_factors(_shrink, lambd=0.5, bias=0.0),
    "Softmax": along_axis(functional.softmax),
    "Sum": all_of(torch.add),
    "ThresholdedRelu": with_factors(_above, alpha=1.0),
}
