"""Windows that slide over spatial axes: what convolutions and pools share, in plain numpy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.graph import int_attribute

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """Where a kernel lies over its input, one number for each spatial axis.

    Args:
        kernel: sizes.
        strides: steps between positions.
        dilations: steps between taps.
        begin: padding before the first element.
        end: padding behind the last one; negative crops.
    """

    kernel: Sizes
    strides: Sizes
    dilations: Sizes
    begin: Sizes
    end: Sizes

    @property
    def extents(self) -> Sizes:
        """From the first tap to the last, `(kernel − 1) · dilation + 1`."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def pad(self, x: NDArray[Any], fill: float = 0) -> NDArray[Any]:
        """Return `x`, `(n, c, *spatial)`, with `fill` around it."""
        padded = np.pad(
            x,
            [(0, 0), (0, 0), *((b, max(e, 0)) for b, e in zip(self.begin, self.end, strict=True))],
            constant_values=fill,
        )
        crop = tuple(slice(None, min(e, 0) or None) for e in self.end)
        return padded[(slice(None), slice(None), *crop)]

    def slide(self, padded: NDArray[Any]) -> NDArray[Any]:
        """Return every position's elements, `(n, c, *positions, *kernel)`, as a view.

        >>> Window((2,), (2,), (1,), (0,), (0,)).slide(np.arange(5).reshape(1, 1, 5))
        array([[[[0, 1],
                 [2, 3]]]])
        """
        axes = tuple(range(2, padded.ndim))
        found = np.lib.stride_tricks.sliding_window_view(padded, self.extents, axes)
        steps = [slice(None, None, step) for step in (*self.strides, *self.dilations)]
        return found[(slice(None), slice(None), *steps)]


def window(node: ir.Node, kernel: Sequence[int], sizes: Sequence[int]) -> Window:
    """Return the window of a Conv or a pool.

    Args:
        node: strides, dilations, pads or auto_pad, and ceil_mode are read from it.
        kernel: its sizes.
        sizes: those of the input's spatial axes.

    Positions that only `ceil_mode` adds are made by more padding at the end.
    """
    count = len(kernel)
    strides, dilations = (numbers(node, n, (1,) * count) for n in ("strides", "dilations"))
    flat = Window(tuple(kernel), strides, dilations, (0,) * count, (0,) * count)
    pads = [
        _padding(node, size, extent, stride, axis, count)
        for axis, (size, extent, stride) in enumerate(
            zip(sizes, flat.extents, strides, strict=True)
        )
    ]
    begin, end = (tuple(pair[side] for pair in pads) for side in (0, 1))
    return Window(flat.kernel, strides, dilations, begin, end)


def numbers(node: ir.Node, name: str, default: Sizes) -> Sizes:
    """Return an attribute of integers, or `default` when it is absent."""
    attribute = node.attributes.get(name)
    return default if attribute is None else tuple(attribute.as_ints())


def text(node: ir.Node, name: str, default: str) -> str:
    """Return an attribute of text, or `default` when it is absent."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_string()


def _padding(
    node: ir.Node, size: int, extent: int, stride: int, axis: int, count: int
) -> tuple[int, int]:
    mode = text(node, "auto_pad", "NOTSET")
    if mode.startswith("SAME"):
        positions = -(-size // stride)
        return halves(max((positions - 1) * stride + extent - size, 0), mode == "SAME_UPPER")
    pads = numbers(node, "pads", (0,) * (2 * count)) if mode == "NOTSET" else (0,) * (2 * count)
    begin, end = pads[axis], pads[count + axis]
    if not int_attribute(node, "ceil_mode", 0):
        return begin, end
    positions = -(-(size + begin + end - extent) // stride) + 1
    if (positions - 1) * stride >= size + begin:  # a window wholly in the padding is none
        positions -= 1
    return begin, (positions - 1) * stride + extent - size - begin


def halves(total: int, upper: bool) -> tuple[int, int]:
    """Split padding between both ends; the odd one goes to the end if `upper`."""
    small = total // 2
    return (small, total - small) if upper else (total - small, small)


def average_pool(x: NDArray[np.floating], node: ir.Node) -> NDArray[np.float64]:
    """Return the means of AveragePool's windows in float64.

    Args:
        x: `(n, c, *spatial)`.
        node: the AveragePool. With `count_include_pad`, `pads` count as zeros; what `ceil_mode`
            adds never counts.
    """
    place = window(node, numbers(node, "kernel_shape", ()), x.shape[2:])
    axes = tuple(range(-len(place.kernel), 0))
    counted = np.ones((1, 1, *x.shape[2:]))
    if int_attribute(node, "count_include_pad", 0):
        given = numbers(node, "pads", (*place.begin, *place.end))[len(place.kernel) :]
        ends = [(b, min(e, g)) for b, e, g in zip(place.begin, place.end, given, strict=True)]
        edges = [(b, max(e, 0)) for b, e in ends]
        counted = np.pad(counted, [(0, 0), (0, 0), *edges], constant_values=1)
        rest = tuple(e - edge[1] for e, edge in zip(place.end, edges, strict=True))
        around = Window(place.kernel, place.strides, place.dilations, (0,) * len(rest), rest)
    else:
        around = place
    total = place.slide(place.pad(x.astype(np.float64))).sum(axis=axes)
    share: NDArray[np.float64] = total / around.slide(around.pad(counted)).sum(axis=axes)
    return share


def max_pool(q: NDArray[np.integer], node: ir.Node) -> NDArray[np.int64]:
    """Return the largest integer of each of MaxPool's windows; padding never wins."""
    place = window(node, numbers(node, "kernel_shape", ()), q.shape[2:])
    least = int(np.iinfo(np.int64).min)
    windows = place.slide(place.pad(q.astype(np.int64), least))
    return np.asarray(windows.max(axis=tuple(range(-len(place.kernel), 0))), np.int64)
