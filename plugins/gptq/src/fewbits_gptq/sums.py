"""What is known of a layer's inputs in both branches: second moments, cross moments, means."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from fewbits.hessian import Moments
from fewbits.layermatrix import columns, output_columns, positions, weight_shape
from fewbits.walk import Visit
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: columns beyond which more samples add little, and samples that are always taken.
ENOUGH = 200_000
LEAST_SAMPLES = 64


@dataclass(frozen=True)
class Sums:
    """Sums over samples and positions of a layer's columns: `x` as quantized, `t` in float.

    Args:
        second: `Σ x·xᵀ`, `(groups, columns, columns)`.
        cross: `Σ t·xᵀ`, the same shape; None without the float branch.
        first: `Σ x`, `(groups, columns)`.
        first_float: `Σ t`.
        count: number of columns that were summed.
        samples: number of samples they came from.
        extra: `Σ d·xᵀ`, `(groups, rows, columns)`, `d` being what the float branch adds to the
            layer's output right behind it, minus what the quantized branch adds; None if nothing.
        first_extra: `Σ d`, `(groups, rows)`.
        centered: whether moments are about the means, because a bias takes up the mean.
    """

    second: Array
    cross: Array | None
    first: Array
    first_float: Array
    count: int = 0
    samples: int = 0
    extra: Array | None = None
    first_extra: Array | None = None
    centered: bool = True

    @property
    def covariance(self) -> Array:
        """`E[x·xᵀ] − E[x]·E[x]ᵀ`; the last term only if `centered`."""
        return self._moment(self.second, self.first)

    @property
    def cross_covariance(self) -> Array:
        """`E[t·xᵀ] − E[t]·E[x]ᵀ`, likewise."""
        assert self.cross is not None
        return self._moment(self.cross, self.first_float)

    @property
    def extra_covariance(self) -> Array | None:
        """`E[d·xᵀ] − E[d]·E[x]ᵀ`, likewise."""
        if self.extra is None or self.first_extra is None:
            return None
        return self._moment(self.extra, self.first_extra)

    @property
    def shrinkage(self) -> Array:
        """How far few samples ask for the covariance to be drawn to a multiple of `I`, in 0..1."""
        return Moments(self.second, self.first, self.count, self.samples).shrinkage

    def merge(self, other: "Sums") -> "Sums":
        """Return the sums over both sets of samples."""
        return Sums(
            self.second + other.second,
            _plus(self.cross, other.cross),
            self.first + other.first,
            self.first_float + other.first_float,
            self.count + other.count,
            self.samples + other.samples,
            _plus(self.extra, other.extra),
            _plus(self.first_extra, other.first_extra),
            self.centered,
        )

    def _moment(self, product: Array, first: Array) -> Array:
        mean = product / self.count
        if self.centered:
            mean -= (first / self.count)[:, :, None] * (self.first / self.count)[:, None]
        return np.asarray(mean)


def _plus(one: Array | None, other: Array | None) -> Array | None:
    return None if one is None or other is None else one + other


def sums_of(visit: Visit, *, cross: bool, centered: bool = True) -> Sums:
    """Return the sums over as many samples as it takes for `ENOUGH` columns, evenly spaced.

    Args:
        visit: a layer that a walk visits.
        cross: whether the float branch's input is wanted too, and what is added behind the layer.
        centered: whether moments are to be about the means.
    """
    return reduce(Sums.merge, halves_of(visit, cross=cross, centered=centered))


def halves_of(visit: Visit, *, cross: bool, centered: bool = True) -> list[Sums]:
    """Return the sums over every second sample and over the others; one entry for one sample.

    Args:
        visit: a layer that a walk visits.
        cross: whether the float branch's input is wanted too, and what is added behind the layer.
        centered: whether moments are to be about the means.
    """
    parts: dict[int, Sums] = {}
    place = 0
    for rows in _chosen(visit):
        for half, some in enumerate((rows[place % 2 :: 2], rows[1 - place % 2 :: 2])):
            if len(some):
                found = _summed(visit, some, cross=cross, centered=centered)
                parts[half] = parts[half].merge(found) if half in parts else found
        place += len(rows)
    return list(parts.values())


def _summed(visit: Visit, rows: NDArray[np.int64], *, cross: bool, centered: bool) -> Sums:
    """Return the sums over some samples."""
    x = columns(visit.layer, visit.source.real(visit.source.rows(rows)))
    second, first = np.matmul(x, x.swapaxes(1, 2)).astype(np.float64), _total(x)
    plain = Sums(second, None, first, np.zeros_like(first), x.shape[2], len(rows))
    if not cross or visit.float_source is None:
        return replace(plain, centered=centered)
    t = columns(visit.float_layer, visit.float_source.rows(rows))
    product = np.matmul(t, x.swapaxes(1, 2)).astype(np.float64)
    found = replace(plain, cross=product, first_float=_total(t), centered=centered)
    if visit.addend is None:
        return found
    d = output_columns(visit.layer, visit.addend.missing(rows))
    product = np.matmul(d, x.swapaxes(1, 2)).astype(np.float64)
    return replace(found, extra=product, first_extra=_total(d))


def _total(x: NDArray[np.float32]) -> Array:
    return np.asarray(x.sum(axis=2, dtype=np.float64))


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
