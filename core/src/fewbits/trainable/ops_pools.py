"""Pools and reductions in torch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import product as every
from math import prod

import onnx_ir as ir
import torch
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
    refuse_further_outputs,
    torch_pads,
    unknown,
)
from fewbits.windows import Window, window

_MEANS: dict[int, Callable[..., Tensor]] = {
    1: functional.avg_pool1d,
    2: functional.avg_pool2d,
    3: functional.avg_pool3d,
}
_LARGEST: dict[int, Callable[..., Tensor]] = {
    1: functional.max_pool1d,
    2: functional.max_pool2d,
    3: functional.max_pool3d,
}


def max_pool(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Return the largest element of each window; padding never wins."""
    refuse_further_outputs(node)
    x = given(inputs, 0)
    place = _place(node, x)
    pool = _LARGEST[len(place.kernel)]
    pads, ceil = place.begin, bool(int_attribute(node, "ceil_mode", 0))
    if not _is_torchs(place):
        x = functional.pad(x, _all_pads(place), value=-torch.inf)
        pads, ceil = (0,) * len(place.kernel), False
    return (pool(x, place.kernel, place.strides, pads, place.dilations, ceil),)


def average_pool(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Return the mean of each window; what `ceil_mode` adds to it never counts."""
    x = given(inputs, 0)
    place = _place(node, x)
    include = bool(int_attribute(node, "count_include_pad", 0))
    if _is_torchs(place) and set(place.dilations) == {1}:
        ceil = bool(int_attribute(node, "ceil_mode", 0))
        pool = _MEANS[len(place.kernel)]
        return (pool(x, place.kernel, place.strides, place.begin, ceil, include),)
    means = _window_means(functional.pad(x, _all_pads(place)), place)
    return (means / _window_means(_counted(x, place, include), place),)


def _place(node: ir.Node, x: Tensor) -> Window:
    """Return where a pool's windows lie."""
    kernel = ints(node, "kernel_shape", ())
    if len(kernel) not in _MEANS:
        raise unknown(node, f"over {len(kernel)} dimensions")
    return window(node, kernel, x.shape[2:])


def _is_torchs(place: Window) -> bool:
    """Whether torch can pad so: the same on both sides, at most half the kernel."""
    small = all(2 * pad <= size for pad, size in zip(place.begin, place.kernel, strict=True))
    return place.begin == place.end and small


def _all_pads(place: Window) -> list[int]:
    end = [pad + more for pad, more in zip(place.end, place.surplus, strict=True)]
    return torch_pads(place.begin, end)


def _counted(x: Tensor, place: Window, include: bool) -> Tensor:
    """Return 1 for each element that counts in a mean and 0 elsewhere, `(1, 1, *padded)`."""
    ones = x.new_ones((1, 1, *x.shape[2:]))
    padded = functional.pad(ones, torch_pads(place.begin, place.end), value=float(include))
    none = (0,) * len(place.kernel)
    return functional.pad(padded, torch_pads(none, place.surplus))


def _window_means(x: Tensor, place: Window) -> Tensor:
    """Return the means of windows over what is padded already."""
    if set(place.dilations) == {1}:
        return _MEANS[len(place.kernel)](x, place.kernel, place.strides)
    return reduce(torch.add, _taps(x, place)) / prod(place.kernel)


def _taps(x: Tensor, place: Window) -> Iterator[Tensor]:
    """Yield for each element of the kernel what it sees at every position."""
    reaches = [size - extent + 1 for size, extent in zip(x.shape[2:], place.extents, strict=True)]
    for tap in every(*(range(size) for size in place.kernel)):
        steps = zip(tap, place.dilations, reaches, place.strides, strict=True)
        seen = (slice(t * d, t * d + reach, step) for t, d, reach, step in steps)
        yield x[(slice(None), slice(None), *seen)]


def reduction(function: Callable[..., Tensor]) -> Op:
    """Return the op that reduces over axes, all of them if none are named.

    Args:
        function: takes a tensor, the axes and whether to keep them.
    """

    def op(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
        x, axes = given(inputs, 0), numbers(optional(inputs, 1))
        if not axes and int_attribute(node, "noop_with_empty_axes", 0):
            raise unknown(node, "with noop_with_empty_axes=1")
        keep = bool(int_attribute(node, "keepdims", 1))
        return (function(x, axes or list(range(x.ndim)), keep).to(x.dtype),)

    return op


def over_space(function: Callable[..., Tensor]) -> Op:
    """Return the op that reduces over all axes but the first two."""
    return lambda node, inputs: (
        function(given(inputs, 0), tuple(range(2, given(inputs, 0).ndim)), True),
    )


def extreme_place(function: Callable[..., Tensor]) -> Op:
    """Return the op that tells where along an axis the largest or smallest element lies."""

    def op(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
        x = given(inputs, 0)
        axis, keep = axis_of(node, x.ndim, 0), bool(int_attribute(node, "keepdims", 1))
        if int_attribute(node, "select_last_index", 0):
            return (x.shape[axis] - 1 - function(x.flip(axis), axis, keep),)
        return (function(x, axis, keep),)

    return op


def cumulative_sum(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Sum up along an axis, from either end, each element with or without itself."""
    x, axis = given(inputs, 0), int(given(inputs, 1))
    reverse = int_attribute(node, "reverse", 0)
    y = x.flip(axis).cumsum(axis) if reverse else x.cumsum(axis)
    y = y.flip(axis) if reverse else y
    return (y - x if int_attribute(node, "exclusive", 0) else y,)


def _product(x: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
    places = sorted((axis % x.ndim for axis in axes), reverse=True)
    for axis in places:
        x = x.prod(axis, keepdim=keep)
    return x


def _norm(order: int) -> Callable[..., Tensor]:
    return lambda x, axes, keep: torch.linalg.vector_norm(x, order, axes, keep)


POOLS: Mapping[str, Op] = {
    "ArgMax": extreme_place(torch.argmax),
    "ArgMin": extreme_place(torch.argmin),
    "AveragePool": average_pool,
    "CumSum": cumulative_sum,
    "GlobalAveragePool": over_space(torch.mean),
    "GlobalMaxPool": over_space(torch.amax),
    "MaxPool": max_pool,
    "ReduceL1": reduction(_norm(1)),
    "ReduceL2": reduction(_norm(2)),
    "ReduceLogSum": reduction(lambda x, axes, keep: x.sum(axes, keep).log()),
    "ReduceLogSumExp": reduction(torch.logsumexp),
    "ReduceMax": reduction(torch.amax),
    "ReduceMean": reduction(torch.mean),
    "ReduceMin": reduction(torch.amin),
    "ReduceProd": reduction(_product),
    "ReduceSum": reduction(torch.sum),
    "ReduceSumSquare": reduction(lambda x, axes, keep: x.square().sum(axes, keep)),
}
