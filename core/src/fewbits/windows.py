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
        end: padding behind the last one.
        surplus: what `ceil_mode` adds behind the padding; negative crops.
    """

    kernel: Sizes
    strides: Sizes
    dilations: Sizes
    begin: Sizes
    end: Sizes
    surplus: Sizes

    @property
    def extents(self) -> Sizes:
        """From the first tap to the last, `(kernel − 1) · dilation + 1`."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def pad(self, x: NDArray[Any], fill: float = 0) -> NDArray[Any]:
        """Return `x`, `(n, c, *spatial)`, with all its padding around it."""
        return self.extend(self.surround(x, fill), fill)

    def surround(self, x: NDArray[Any], fill: float = 0) -> NDArray[Any]:
        """Return `x` with `begin` and `end` around it."""
        edges = [(0, 0), (0, 0), *zip(self.begin, self.end, strict=True)]
        return np.pad(x, edges, constant_values=fill)

    def extend(self, x: NDArray[Any], fill: float = 0) -> NDArray[Any]:
        """Return `x` with `surplus` behind it."""
        edges = [(0, 0), (0, 0), *((0, max(more, 0)) for more in self.surplus)]
        kept = tuple(slice(None, min(more, 0) or None) for more in self.surplus)
        return np.pad(x, edges, constant_values=fill)[(slice(None), slice(None), *kept)]

    def slide(self, padded: NDArray[Any]) -> NDArray[Any]:
        """Return every position's elements, `(n, c, *positions, *kernel)`, as a view.

        >>> Window((2,), (2,), (1,), (0,), (0,), (0,)).slide(np.arange(5).reshape(1, 1, 5))
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
    """
    ones, none = (1,) * len(kernel), (0,) * len(kernel)
    strides, dilations = numbers(node, "strides", ones), numbers(node, "dilations", ones)
    extents = Window(tuple(kernel), strides, dilations, none, none, none).extents
    begin, end = _padding(node, sizes, extents, strides)
    surplus = none
    if int_attribute(node, "ceil_mode", 0):
        starts = [b + size for b, size in zip(begin, sizes, strict=True)]
        padded = [start + e for start, e in zip(starts, end, strict=True)]
        surplus = tuple(map(_surplus, padded, starts, extents, strides))
    return Window(tuple(kernel), strides, dilations, begin, end, surplus)


def numbers(node: ir.Node, name: str, default: Sizes) -> Sizes:
    """Return an attribute of integers, or `default` when it is absent."""
    attribute = node.attributes.get(name)
    return default if attribute is None else tuple(attribute.as_ints())


def text(node: ir.Node, name: str, default: str) -> str:
    """Return an attribute of text, or `default` when it is absent."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_string()


def halves(totals: Sequence[int], *, upper: bool) -> tuple[Sizes, Sizes]:
    """Split padding between both ends; the odd one goes to the end if `upper`."""
    small, large = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
    return (small, large) if upper else (large, small)


def _padding(
    node: ir.Node, sizes: Sequence[int], extents: Sizes, strides: Sizes
) -> tuple[Sizes, Sizes]:
    """Return the padding before and behind, by `pads` or `auto_pad`."""
    mode = text(node, "auto_pad", "NOTSET")
    if mode.startswith("SAME"):
        totals = [
            max((-(-size // stride) - 1) * stride + extent - size, 0)
            for size, extent, stride in zip(sizes, extents, strides, strict=True)
        ]
        return halves(totals, upper=mode == "SAME_UPPER")
    none = (0,) * (2 * len(sizes))
    pads = numbers(node, "pads", none) if mode == "NOTSET" else none
    return pads[: len(sizes)], pads[len(sizes) :]


def _surplus(padded: int, behind: int, extent: int, stride: int) -> int:
    """Return how far the last window that `ceil_mode` allows reaches beyond the padding.

    Args:
        padded: size with padding.
        behind: where the padding behind begins; no window starts from there on.
        extent: of the window.
        stride: between windows.
    """
    last = -(-(padded - extent) // stride)
    if last * stride >= behind:
        last -= 1
    return last * stride + extent - padded


def average_pool(x: NDArray[np.floating], node: ir.Node) -> NDArray[np.float64]:
    """Return the means of AveragePool's windows in float64.

    Args:
        x: `(n, c, *spatial)`.
        node: the AveragePool. With `count_include_pad`, padding counts as zeros; what `ceil_mode`
            adds never counts.
    """
    place = window(node, numbers(node, "kernel_shape", ()), x.shape[2:])
    include = int_attribute(node, "count_include_pad", 0)
    counted = place.extend(place.surround(np.ones((1, 1, *x.shape[2:])), include))
    axes = tuple(range(-len(place.kernel), 0))
    total = place.slide(place.pad(x.astype(np.float64))).sum(axis=axes)
    mean: NDArray[np.float64] = total / place.slide(counted).sum(axis=axes)
    return mean


def max_pool(x: NDArray[Any], node: ir.Node) -> NDArray[Any]:
    """Return the largest element of each of MaxPool's windows; padding never wins."""
    place = window(node, numbers(node, "kernel_shape", ()), x.shape[2:])
    least = np.iinfo(x.dtype).min if x.dtype.kind in "iu" else -np.inf
    windows = place.slide(place.pad(x, least))
    return np.asarray(windows.max(axis=tuple(range(-len(place.kernel), 0))))
