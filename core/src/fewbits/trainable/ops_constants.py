"""Ops whose outputs depend on no values, only on shapes and attributes, in torch."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from fewbits.graph import int_attribute
from fewbits.trainable.ops_base import Inputs, Op, given, numbers, unknown


def constant(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Return the node's own numbers, on the CPU."""
    (attribute,) = node.attributes.values()
    match attribute.name:
        case "value":
            return (torch.from_numpy(attribute.as_tensor().numpy().copy()),)
        case "value_float":
            return (torch.tensor(attribute.as_float(), dtype=torch.float32),)
        case "value_floats":
            return (torch.tensor(attribute.as_floats(), dtype=torch.float32),)
        case "value_int":
            return (torch.tensor(attribute.as_int()),)
        case "value_ints":
            return (torch.tensor(attribute.as_ints(), dtype=torch.int64),)
    raise unknown(node, f"with {attribute.name}")


def constant_of_shape(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Fill a shape with one number, 0 by default."""
    attribute = node.attributes.get("value")
    array = np.zeros(1, np.float32) if attribute is None else attribute.as_tensor().numpy()
    number = torch.from_numpy(array.copy()).to(given(inputs, 0).device).reshape(())
    return (number.expand(numbers(given(inputs, 0)) or []).clone(),)


def count_up(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Return the numbers from one to another (which is left out) in equal steps."""
    start, limit, step = (given(inputs, place) for place in range(3))
    ends = (start.item(), limit.item(), step.item())
    return (torch.arange(*ends, dtype=start.dtype, device=start.device),)


def shape_of(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Return the sizes, or some of them."""
    x = given(inputs, 0)
    sizes = x.shape[int_attribute(node, "start", 0) : int_attribute(node, "end", x.ndim)]
    return (torch.tensor(sizes, dtype=torch.int64, device=x.device),)


def size_of(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Return the number of elements."""
    x = given(inputs, 0)
    return (torch.tensor(x.numel(), device=x.device),)


CONSTANTS: Mapping[str, Op] = {
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Range": count_up,
    "Shape": shape_of,
    "Size": size_of,
}
