"""Weights of every layer in one layout: groups, output channels, input channels, kernel."""

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fewbits.graph import Layer

Number = TypeVar("Number", bound=np.generic)


def in_channels(layer: Layer) -> int:
    """Return how many channels a layer reads."""
    shape = [size for size in layer.weight.shape or () if isinstance(size, int)]
    spatial = math.prod(shape[2:])
    return math.prod(shape) // spatial * layer.groups // layer.out_channels


def to_blocks(layer: Layer, weight: NDArray[Number]) -> NDArray[Number]:
    """Return a weight as `(groups, out/groups, in/groups, *kernel)`.

    Channel `c` of `n` is number `c mod n/groups` of group `c div n/groups`, on both sides.

    Args:
        layer: tells the op and its groups.
        weight: in the layer's own layout: `(out, in/groups, *kernel)` for Conv, `(in, out/groups,
            *kernel)` for ConvTranspose, `(out, in)` or `(in, out)` for Gemm and MatMul.
    """
    split = weight.reshape(layer.groups, -1, *weight.shape[1:])
    return split.swapaxes(1, 2) if layer.weight_axis == 1 else split


def from_blocks(layer: Layer, blocks: NDArray[Number]) -> NDArray[Number]:
    """Return what `to_blocks` gave in the layer's own layout."""
    split = blocks.swapaxes(1, 2) if layer.weight_axis == 1 else blocks
    return split.reshape(-1, *split.shape[2:])
