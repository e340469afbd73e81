"""A layer as a matrix product per channel group: its weight as matrices, its input as columns.

`y = W·x + b` with one column `x` for each sample and output position.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbits.graph import Layer, constant
from fewbits.integer_ops import transposed_window
from fewbits.windows import Window, window


def weight_shape(layer: Layer) -> tuple[int, ...]:
    """Return the shape of a layer's weight."""
    weight = constant(layer.weight)
    assert weight is not None
    return weight.shape


def weight_matrix(layer: Layer, weight: NDArray[Any]) -> NDArray[Any]:
    """Return a weight as one matrix per group, `(groups, out/groups, columns)`.

    Columns are input channels times taps: `(in/groups, kh, kw)` flattened.
    """
    if layer.op_type == "ConvTranspose":
        split = weight.reshape(layer.groups, -1, *weight.shape[1:]).swapaxes(1, 2)
    elif layer.op_type == "Conv":
        split = weight.reshape(layer.groups, -1, *weight.shape[1:])
    else:
        split = (weight if layer.weight_axis == 0 else weight.T)[None]
    return split.reshape(*split.shape[:2], -1)


def from_matrix(layer: Layer, matrix: NDArray[Any]) -> NDArray[Any]:
    """Return the weight, in the layer's own layout, whose `weight_matrix` is `matrix`."""
    shape = weight_shape(layer)
    if layer.op_type == "ConvTranspose":
        split = matrix.reshape(layer.groups, shape[1], -1, *shape[2:])
        return split.swapaxes(1, 2).reshape(shape)
    if layer.op_type == "Conv":
        return matrix.reshape(shape)
    return np.ascontiguousarray(matrix[0] if layer.weight_axis == 0 else matrix[0].T)


def columns(layer: Layer, x: NDArray[Any]) -> NDArray[Any]:
    """Return a layer's input as columns, `(groups, columns, samples · positions)`.

    Args:
        layer: Conv, ConvTranspose, Gemm or MatMul; its window and groups are read from it.
        x: `(n, in, *spatial)` for convolutions, else `(…, in)`.
    """
    if layer.op_type in ("Gemm", "MatMul"):
        return np.ascontiguousarray(x.reshape(-1, x.shape[-1]).T)[None]
    if _is_pointwise(layer):
        split = x.reshape(len(x), layer.groups, x.shape[1] // layer.groups, -1)
        ordered = np.ascontiguousarray(split.transpose(1, 2, 0, 3))
        return ordered.reshape(*ordered.shape[:2], -1)
    patches = _patches(layer, x)
    axes = (patches.ndim - 2) // 2
    taps = tuple(range(2 + axes, patches.ndim))
    ordered = patches.transpose(1, *taps, 0, *range(2, 2 + axes))
    size = x.shape[1] // layer.groups * prod(patches.shape[2 + axes :])
    return np.ascontiguousarray(ordered).reshape(layer.groups, size, -1)


def output_columns(layer: Layer, y: NDArray[Any]) -> NDArray[Any]:
    """Return what a layer writes as columns, `(groups, out/groups, samples · positions)`.

    Args:
        layer: as for `columns`.
        y: of its output's shape, batch first: `(n, out, *positions)` for convolutions, else
            `(…, out)`.
    """
    if layer.op_type in ("Gemm", "MatMul"):
        return np.ascontiguousarray(y.reshape(-1, y.shape[-1]).T)[None]
    split = y.reshape(len(y), layer.groups, y.shape[1] // layer.groups, -1)
    ordered = np.ascontiguousarray(split.transpose(1, 2, 0, 3))
    return ordered.reshape(*ordered.shape[:2], -1)


def columns_at(layer: Layer, x: NDArray[Any], places: NDArray[np.integer]) -> NDArray[Any]:
    """Return the columns at some output positions only, `(groups, columns, samples · k)`.

    Args:
        layer: as for `columns`.
        x: its input, batch first.
        places: output positions of each sample, numbered in the order of `columns`, `(n, k)`.
    """
    rows = np.arange(len(x))[:, None]
    if layer.op_type in ("Gemm", "MatMul"):
        picked = x.reshape(len(x), -1, x.shape[-1])[rows, places]
        return np.ascontiguousarray(picked.reshape(-1, x.shape[-1]).T)[None]
    patches = _patches(layer, x)
    axes = (patches.ndim - 2) // 2
    where = np.unravel_index(places, patches.shape[2 : 2 + axes])
    place: tuple[Any, ...] = (rows, slice(None), *where)
    picked = patches[place]  # (n, k, in, *kernel)
    ordered = np.ascontiguousarray(np.moveaxis(picked, (0, 1), (-2, -1)))
    size = x.shape[1] // layer.groups * prod(patches.shape[2 + axes :])
    return ordered.reshape(layer.groups, size, -1)


def _is_pointwise(layer: Layer) -> bool:
    """Whether each output position reads one input position, the same."""
    kernel = weight_shape(layer)[2:]
    if layer.op_type != "Conv" or prod(kernel) != 1:
        return False
    plain = window(layer.node, kernel, (1,) * len(kernel))
    return plain.strides == (1,) * len(kernel) and not any((*plain.begin, *plain.end))


def _patches(layer: Layer, x: NDArray[Any]) -> NDArray[Any]:
    """Return every output position's inputs, `(n, in, *positions, *kernel)`."""
    kernel = weight_shape(layer)[2:]
    if layer.op_type == "Conv":
        place = window(layer.node, kernel, x.shape[2:])
        return place.slide(place.pad(x))
    place, full = transposed_window(layer.node, kernel, x.shape[2:])
    spread = [s * (size - 1) + 1 for s, size in zip(place.strides, x.shape[2:], strict=True)]
    stuffed = np.zeros((*x.shape[:2], *spread), x.dtype)
    stuffed[(slice(None), slice(None), *(slice(None, None, s) for s in place.strides))] = x
    ones = (1,) * len(kernel)
    begin = tuple(e - 1 - b for e, b in zip(place.extents, place.begin, strict=True))
    end = tuple(f - s - e for f, s, e in zip(full, spread, place.end, strict=True))
    flipped = Window(kernel, ones, place.dilations, ones, ones, (0,) * len(kernel))
    patches = flipped.slide(_fitted(stuffed, begin, end))
    return np.flip(patches, tuple(range(-len(kernel), 0)))


def _fitted(x: NDArray[Any], begin: Sequence[int], end: Sequence[int]) -> NDArray[Any]:
    """Pad with zeros where a number is positive, crop where it is negative."""
    edges = [(max(b, 0), max(e, 0)) for b, e in zip(begin, end, strict=True)]
    kept = (slice(max(-b, 0), -max(-e, 0) or None) for b, e in zip(begin, end, strict=True))
    return np.pad(x, [(0, 0), (0, 0), *edges])[(slice(None), slice(None), *kept)]


def positions(layer: Layer, x: NDArray[Any]) -> int:
    """Return a layer's number of output positions for one sample."""
    if layer.op_type in ("Gemm", "MatMul"):
        return prod(x.shape[1:-1])
    kernel = weight_shape(layer)[2:]
    if layer.op_type == "ConvTranspose":
        return prod(transposed_window(layer.node, kernel, x.shape[2:])[1])
    place = window(layer.node, kernel, x.shape[2:])
    sizes = zip(x.shape[2:], place.begin, place.end, place.extents, place.strides, strict=True)
    return prod((size + b + e - extent) // stride + 1 for size, b, e, extent, stride in sizes)
