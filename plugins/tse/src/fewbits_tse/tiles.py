"""The mathematics of tiled squeeze-and-excite (Vosco et al., ICCV workshops 2021).

Squeeze-and-excite weighs channel `c` of a map `x` by a function of all channels' means,
`y[c] = x[c] · g(mean(x))[c]`. TSE takes the means over non-overlapping strips of `t` rows and the
full width instead, and weighs each strip by its own: `y[c, r] = x[c, r] · g(m[:, ⌊r/t⌋])[c]` with
`m[c, k]` the mean of `x[c]` over the rows `k·t … min((k+1)·t, H) − 1`. `g` is unchanged.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Gate = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def tile_count(height: int, tile_height: int) -> int:
    """Number of strips in a map: `⌈H/t⌉`."""
    return -(-height // tile_height)


def tile_of_rows(height: int, tile_height: int) -> NDArray[np.int64]:
    """Return the strip that each row belongs to, `⌊r/t⌋`, int64 `(height,)`.

    >>> tile_of_rows(5, 2)
    array([0, 0, 1, 1, 2])
    """
    return np.arange(height, dtype=np.int64) // tile_height


def tile_means(x: NDArray[np.floating], tile_height: int) -> NDArray[np.float64]:
    """Mean of each channel over each strip; the last strip may have fewer rows.

    Args:
        x: `(batch, channels, height, width)`.
        tile_height: rows of a strip.

    Returns:
        float64 `(batch, channels, ⌈height/tile_height⌉, 1)`.

    >>> tile_means(np.arange(6.0).reshape(1, 1, 3, 2), 2).ravel()
    array([1.5, 4.5])
    """
    wide = x.astype(np.float64)
    starts = range(0, x.shape[2], tile_height)
    strips = [wide[:, :, start : start + tile_height].mean(axis=(2, 3)) for start in starts]
    return np.stack(strips, axis=2)[..., None]


def tiled_squeeze_excite(
    x: NDArray[np.floating], gate: Gate, tile_height: int
) -> NDArray[np.float64]:
    """Weigh each strip of a map by the gate of its own means.

    Args:
        x: `(batch, channels, height, width)`.
        gate: the excitation, `(batch, channels, tiles, 1)` to the same shape, each tile by itself.
        tile_height: rows of a strip; a strip of all rows is squeeze-and-excite.

    Returns:
        float64, the shape of `x`.
    """
    weights = gate(tile_means(x, tile_height))
    return x * weights[:, :, tile_of_rows(x.shape[2], tile_height)]


def saving(height: int, tile_height: int) -> float:
    """Share of the block's buffer that tiling saves: `1 − t/H`, 0 for a map within one strip.

    >>> saving(28, 7), saving(3, 7)
    (0.75, 0.0)
    """
    return max(1.0 - tile_height / height, 0.0)
