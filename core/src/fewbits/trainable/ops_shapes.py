"""Ops that move, repeat, choose or describe numbers, in torch."""

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fewbits.graph import int_attribute
from fewbits.trainable.ops_base import (
    Inputs,
    Op,
    axis_of,
    given,
    ints,
    numbers,
    optional,
    text,
    torch_pads,
    unknown,
)


def flatten(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Make a matrix of a tensor; the axes before `axis` become its rows."""
    x = given(inputs, 0)
    axis = int_attribute(node, "axis", 1)
    shape = x.shape
    return (x.reshape(prod(shape[:axis]), prod(shape[axis:])),)


def reshape(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Give another shape; 0 keeps a size (unless `allowzero`), and one -1 takes what is left."""
    x, shape = given(inputs, 0), numbers(given(inputs, 1)) or []
    if not int_attribute(node, "allowzero", 0):
        shape = [size or x.shape[place] for place, size in enumerate(shape)]
    return (x.reshape(shape),)


def transpose(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Put the axes in another order, backwards by default."""
    x = given(inputs, 0)
    return (x.permute(ints(node, "perm", list(range(x.ndim))[::-1])),)


def cut(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Take every so manyth element between two places of some axes, in either direction."""
    x = given(inputs, 0)
    starts, ends = numbers(given(inputs, 1)) or [], numbers(given(inputs, 2)) or []
    axes = numbers(optional(inputs, 3)) or list(range(len(starts)))
    steps = numbers(optional(inputs, 4)) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        x = _along(x, axis, range(*slice(start, end, step).indices(x.shape[axis])))
    return (x,)


def _along(x: Tensor, axis: int, places: range) -> Tensor:
    """Return the elements at some places of an axis."""
    if places.step < 0:  # torch's slices only go forwards
        return _along(x, axis, places[::-1]).flip(axis)
    index: list[slice] = [slice(None)] * x.ndim
    index[axis] = slice(places.start, max(places.stop, places.start), places.step)
    return x[tuple(index)]


def pad(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Put a constant, or what is near, around; a negative constant padding cuts off."""
    x, pads = given(inputs, 0), numbers(given(inputs, 1)) or []
    axes = numbers(optional(inputs, 3)) or list(range(x.ndim))
    begin, end = [0] * x.ndim, [0] * x.ndim
    for axis, low, high in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        begin[axis], end[axis] = low, high
    mode = text(node, "mode", "constant")
    if mode == "constant":
        fill = optional(inputs, 2)
        value = 0 if fill is None else fill.item()
        return (functional.pad(x, torch_pads(begin, end), value=value),)
    return (_pad_with_own(node, x, begin, end, mode),)


def _pad_with_own(
    node: ir.Node, x: Tensor, begin: Sequence[int], end: Sequence[int], mode: str
) -> Tensor:
    """Pad with the tensor's own elements."""
    if mode not in ("edge", "reflect", "wrap") or min(*begin, *end) < 0:
        raise unknown(node, f"with mode={mode} and pads {[*begin, *end]}")
    for axis, (low, high) in enumerate(zip(begin, end, strict=True)):
        if low or high:
            places = _mirrored(np.arange(-low, x.shape[axis] + high), x.shape[axis], mode)
            x = x.index_select(axis, torch.from_numpy(places).to(x.device))
    return x


def _mirrored(places: NDArray[np.int64], size: int, mode: str) -> NDArray[np.int64]:
    """Return which element stands at each place, some of which lie outside."""
    if mode == "edge":
        return places.clip(0, size - 1)
    if mode == "wrap":
        return places % size
    period = max(2 * (size - 1), 1)
    places = places % period
    return np.minimum(places, period - places) if size > 1 else places


def gather(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Choose slices of an axis by index; the index's shape takes the axis's place."""
    x, index = given(inputs, 0), given(inputs, 1)
    axis = axis_of(node, x.ndim, 0)
    flat = _from_front(index, x.shape[axis]).reshape(-1)
    shape = (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
    return (x.index_select(axis, flat).reshape(shape),)


def gather_elements(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Choose elements along an axis, by an index for each."""
    x, index = given(inputs, 0), given(inputs, 1)
    axis = axis_of(node, x.ndim, 0)
    return (x.gather(axis, _from_front(index, x.shape[axis]).long()),)


def _from_front(index: Tensor, size: int) -> Tensor:
    return torch.where(index < 0, index + size, index)


def split(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Cut into parts along an axis: of given sizes, or equal but for a smaller last one."""
    x, sizes = given(inputs, 0), numbers(optional(inputs, 1))
    axis, count = axis_of(node, x.ndim, 0), int_attribute(node, "num_outputs", len(node.outputs))
    if sizes is None:
        each = -(-x.shape[axis] // count)
        sizes = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
    return torch.split_with_sizes(x, sizes, axis)


def squeeze(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Drop axes of size 1: those that are named, or all."""
    x, axes = given(inputs, 0), numbers(optional(inputs, 1))
    return (x.squeeze() if axes is None else x.squeeze(tuple(axes)),)


def unsqueeze(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Put in axes of size 1, at places of the result."""
    x, axes = given(inputs, 0), numbers(given(inputs, 1)) or []
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return (x,)


def concat(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Put tensors behind one another along an axis."""
    parts = [x for x in inputs if x is not None]
    return (torch.cat(parts, axis_of(node, parts[0].ndim, 0)),)


def expand(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Broadcast to a shape, which may itself be broadcast."""
    x, shape = given(inputs, 0), numbers(given(inputs, 1)) or []
    return (x.expand(np.broadcast_shapes(x.shape, tuple(shape))),)


def tile(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Repeat the whole along each axis."""
    return (given(inputs, 0).repeat(numbers(given(inputs, 1)) or []),)


def depth_to_space(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Spread blocks of channels over the picture: depth first (DCR), or column first (CRD)."""
    x, side = given(inputs, 0), int_attribute(node, "blocksize", 1)
    if text(node, "mode", "DCR") == "CRD":
        return (functional.pixel_shuffle(x, side),)
    n, c, h, w = x.shape
    blocks = x.reshape(n, side, side, c // side**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return (blocks.reshape(n, c // side**2, h * side, w * side),)


def space_to_depth(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Gather blocks of the picture into channels, depth first."""
    x, side = given(inputs, 0), int_attribute(node, "blocksize", 1)
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // side, side, w // side, side).permute(0, 3, 5, 1, 2, 4)
    return (blocks.reshape(n, c * side**2, h // side, w // side),)


def triangle(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Keep what lies above a diagonal, or below it."""
    x, offset = given(inputs, 0), optional(inputs, 1)
    keep = torch.triu if int_attribute(node, "upper", 1) else torch.tril
    return (keep(x, 0 if offset is None else int(offset)),)


SHAPES: Mapping[str, Op] = {
    "Concat": concat,
    "DepthToSpace": depth_to_space,
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "GatherElements": gather_elements,
    "Pad": pad,
    "Reshape": reshape,
    "Slice": cut,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Trilu": triangle,
    "Unsqueeze": unsqueeze,
}
