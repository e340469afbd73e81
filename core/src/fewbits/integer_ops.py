"""Convolutions and matrix products of integers: exact, in plain numpy."""

from itertools import product as every
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.graph import Layer, int_attribute
from fewbits.windows import Sizes, Window, halves, numbers, text, window

Integers = NDArray[np.int64]

_EXACT_IN_FLOAT64 = 2**53


def accumulate(layer: Layer, x: Integers, weight: Integers) -> Integers:
    """Return a layer's sums of products, without bias.

    Args:
        layer: Conv, ConvTranspose, Gemm or MatMul; strides, padding and groups are read from it.
        x: the input's integers minus its zero point, so that padding is 0.
        weight: the weight's integers minus its zero point, in the layer's layout.
    """
    if layer.op_type == "Conv":
        place = window(layer.node, weight.shape[2:], x.shape[2:])
        return convolve(x, weight, place, layer.groups)
    if layer.op_type == "ConvTranspose":
        return convolve_transposed(x, weight, layer.node)
    transposed = layer.op_type == "Gemm" and layer.weight_axis == 0
    return product(x, weight.T if transposed else weight)


def product(a: Integers, b: Integers) -> Integers:
    """Return the matrix product `a @ b`, exactly.

    While no sum of magnitudes reaches 2^53, float64 holds every partial sum exactly in whatever
    order it is formed, and numpy is far faster in it than in int64.

    Args:
        a: `(…, rows, inner)`.
        b: `(…, inner, columns)`.

    >>> product(np.array([[3, -4]]), np.array([[5], [6]]))
    array([[-9]])
    """
    largest = int(np.abs(a).max(initial=0)) * int(np.abs(b).sum(axis=-2).max(initial=0))
    if largest >= _EXACT_IN_FLOAT64:
        return np.asarray(a @ b, np.int64)
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)


def convolve(x: Integers, weight: Integers, place: Window, groups: int = 1) -> Integers:
    """Return `y[n, o, p] = Σ_{c, k} x[n, c, stride·p + dilation·k − begin] · w[o, c, k]`.

    Every position's elements become a row, every output channel a column (im2col).

    Args:
        x: `(n, in, *spatial)`.
        weight: `(out, in/groups, *kernel)`.
        place: strides, dilations and padding.
        groups: number of channel groups.

    Returns:
        `(n, out, *positions)`.
    """
    patches = place.slide(place.pad(x))
    count, axes = len(x), len(place.kernel)
    positions = patches.shape[2 : 2 + axes]
    split = patches.reshape(count, groups, -1, *positions, *place.kernel)
    rows = np.moveaxis(split, (1, 2), (0, 2 + axes)).reshape(groups, count * prod(positions), -1)
    columns = weight.reshape(groups, len(weight) // groups, -1).transpose(0, 2, 1)
    sums = product(rows, columns).reshape(groups, count, *positions, -1)
    return np.moveaxis(sums, (0, -1), (1, 2)).reshape(count, len(weight), *positions)


def convolve_transposed(x: Integers, weight: Integers, node: ir.Node) -> Integers:
    """Return ConvTranspose's sums: each input element adds its kernel to the output.

    Args:
        x: `(n, in, *spatial)`.
        weight: `(in, out/groups, *kernel)`.
        node: strides, dilations, pads, output_padding or output_shape, and group.

    Returns:
        `(n, out, *sizes)`.
    """
    groups = int_attribute(node, "group", 1)
    place, full = transposed_window(node, weight.shape[2:], x.shape[2:])
    parts = _spread(x, weight, groups)
    result = np.zeros((*parts.shape[:2], *full), np.int64)
    for tap in every(*(range(size) for size in place.kernel)):
        reached = tuple(
            slice(t * d, t * d + s * (size - 1) + 1, s)
            for t, d, s, size in zip(tap, place.dilations, place.strides, x.shape[2:], strict=True)
        )
        this: tuple[Any, ...] = (Ellipsis, *tap)
        there = result[(slice(None), slice(None), *reached)]
        np.add(there, parts[this], out=there)
    kept = (slice(b, size - e) for b, e, size in zip(place.begin, place.end, full, strict=True))
    return result[(slice(None), slice(None), *kept)]


def _spread(x: Integers, weight: Integers, groups: int) -> Integers:
    """Return each input element times its kernels, `(n, out, *spatial, *kernel)`."""
    count, channels, *spatial = x.shape
    inputs = channels // groups
    split = np.moveaxis(x.reshape(count, groups, inputs, -1), (1, 2), (0, 3))
    sums = product(split.reshape(groups, -1, inputs), weight.reshape(groups, inputs, -1))
    parts = sums.reshape(groups, count, *spatial, *weight.shape[1:])
    return np.moveaxis(parts, (0, 2 + len(spatial)), (1, 2)).reshape(
        count, -1, *spatial, *weight.shape[2:]
    )


def transposed_window(node: ir.Node, kernel: Sizes, sizes: Sizes) -> tuple[Window, Sizes]:
    """Return a ConvTranspose's window, its padding to be cut off, and the sizes before that."""
    ones, none = (1,) * len(kernel), (0,) * len(kernel)
    strides, dilations = numbers(node, "strides", ones), numbers(node, "dilations", ones)
    extents = Window(kernel, strides, dilations, none, none, none).extents
    more = numbers(node, "output_padding", none)
    full = tuple(
        s * (i - 1) + extent + m
        for s, i, extent, m in zip(strides, sizes, extents, more, strict=True)
    )
    mode = text(node, "auto_pad", "NOTSET")
    wanted = numbers(node, "output_shape", ())[-len(kernel) :]
    if not wanted and mode.startswith("SAME"):
        wanted = tuple(s * i for s, i in zip(strides, sizes, strict=True))
    if wanted:
        totals = [f - w for f, w in zip(full, wanted, strict=True)]
        begin, end = halves(totals, upper=mode == "SAME_UPPER")
    else:
        pads = numbers(node, "pads", none * 2) if mode == "NOTSET" else none * 2
        begin, end = pads[: len(kernel)], pads[len(kernel) :]
    return Window(kernel, strides, dilations, begin, end, none), full
