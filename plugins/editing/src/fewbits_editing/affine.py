"""(x − mean) / std in front of a layer, as other weights and biases of the layer. Plain arrays."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def along_inputs(numbers: Array, weight: Array, groups: int) -> Array:
    """Return one number per input channel in a shape that multiplies a convolution's weight.

    Args:
        numbers: `(in,)`.
        weight: `(out, in/groups, *kernel)`.
        groups: groups of the convolution.

    Returns:
        `(out, in/groups, 1, …)`: row `o` holds the numbers of the channels that output `o` reads.
    """
    per_group = numbers.reshape(groups, weight.shape[1])
    rows = np.repeat(per_group, weight.shape[0] // groups, axis=0)
    return rows.reshape(*rows.shape, *[1] * (weight.ndim - 2))


def scaled(weight: Array, std: Array, groups: int = 1) -> Array:
    """Return the weight that does to `x` what `weight` does to `x / std`: `W' = W / std`.

    Args:
        weight: `(out, in/groups, *kernel)`; a Gemm's with its outputs first.
        std: `(in,)`.
        groups: groups of the convolution.
    """
    return np.asarray(weight / along_inputs(std, weight, groups))


def shift(weight: Array, mean: Array, std: Array, groups: int = 1) -> Array:
    """Return what is added to the bias, `−Σ W · mean / std` over all that an output reads.

    This is right only where every output reads inside the picture: zeros around a normalized
    picture are the mean around the raw one.

    Args:
        weight: `(out, in/groups, *kernel)`, as it was.
        mean: `(in,)`.
        std: `(in,)`.
        groups: groups of the convolution.

    Returns:
        `(out,)`.

    >>> shift(np.array([[2.0, 4.0]]), np.array([1.0, 3.0]), np.array([2.0, 6.0]))
    array([-3.])
    """
    products = weight * along_inputs(mean / std, weight, groups)
    return np.asarray(-products.reshape(weight.shape[0], -1).sum(axis=1))
