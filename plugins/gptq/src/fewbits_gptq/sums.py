"""What is known of a layer's inputs in both branches: second moments, cross moments, means."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fewbits.layermatrix import columns, positions, weight_matrix, weight_shape
from fewbits.walk import Visit
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: columns beyond which more samples add little, and samples that are always taken.
ENOUGH = 200_000
LEAST_SAMPLES = 64


@dataclass
class Sums:
    """Sums over samples and positions of a layer's columns: `x` as quantized, `t` in float.

    Args:
        second: `Σ x·xᵀ`, `(groups, columns, columns)`.
        cross: `Σ t·xᵀ`, the same shape; None without the float branch.
        first: `Σ x`, `(groups, columns)`.
        first_float: `Σ t`.
        count: number of columns that were summed.
        samples: number of samples they came from.
    """

    second: Array
    cross: Array | None
    first: Array
    first_float: Array
    count: int = 0
    samples: int = 0

    @property
    def covariance(self) -> Array:
        """`E[x·xᵀ] − E[x]·E[x]ᵀ`."""
        mean = self.first / self.count
        return np.asarray(self.second / self.count - mean[:, :, None] * mean[:, None])

    @property
    def cross_covariance(self) -> Array:
        """`E[t·xᵀ] − E[t]·E[x]ᵀ`."""
        assert self.cross is not None
        mean, mean_float = self.first / self.count, self.first_float / self.count
        return np.asarray(self.cross / self.count - mean_float[:, :, None] * mean[:, None])


def sums_of(visit: Visit, *, cross: bool) -> Sums:
    """Return the sums over as many samples as it takes for `ENOUGH` columns, evenly spaced.

    Args:
        visit: a layer that a walk visits.
        cross: whether the float branch's input is wanted too.
    """
    layer = visit.layer
    groups, _, size = weight_matrix(layer, np.empty(weight_shape(layer), np.bool_)).shape
    square, flat = (groups, size, size), (groups, size)
    total = Sums(
        np.zeros(square), np.zeros(square) if cross else None, np.zeros(flat), np.zeros(flat)
    )
    for rows in _chosen(visit):
        x = columns(layer, visit.source.real(visit.source.rows(rows)))
        total.second += np.matmul(x, x.swapaxes(1, 2))
        total.first += x.sum(axis=2, dtype=np.float64)
        total.count += x.shape[2]
        total.samples += len(rows)
        if total.cross is not None and visit.float_source is not None:
            t = columns(visit.float_layer, visit.float_source.rows(rows))
            total.cross += np.matmul(t, x.swapaxes(1, 2))
            total.first_float += t.sum(axis=2, dtype=np.float64)
    return total


def _chosen(visit: Visit) -> Sequence[NDArray[np.int64]]:
    """Return sample numbers, in parts of about 64 MB of columns."""
    one = visit.source.rows([0])
    each = max(positions(visit.layer, one), 1)
    wanted = min(max(-(-ENOUGH // each), LEAST_SAMPLES), len(visit.source))
    rows = np.linspace(0, len(visit.source) - 1, wanted).round().astype(np.int64)
    taps = np.prod(weight_shape(visit.layer)[2:], dtype=np.int64)
    per_sample = 4 * one.size * int(taps)
    step = max((64 << 20) // max(per_sample, 1), 1)
    return [rows[start : start + step] for start in range(0, wanted, step)]
