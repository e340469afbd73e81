"""Which weight to aim at before rounding: what the float branch computes, from quantized inputs.

`argmin_Ŵ E‖W·t + d − Ŵ·x‖²`, drawn to `W` by a ridge: `x` what the layer reads, `t` what the float
layer reads (Li et al. 2025, GPTAQ), `d` what the quantized branch lacks of what is added to the
output right behind the layer. How far it is drawn is chosen by cross-validation over two halves of
the samples, for each layer: with few samples the weights behind the first layers fit these well and
no others. Pure arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fewbits.factors import damped
from numpy.typing import NDArray

from fewbits_gptq.sums import Sums

Array = NDArray[np.float64]

#: ridges to choose from, as shares of the mean diagonal.
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
#: the ridge where there is but one sample.
FALLBACK = 1.0


def ridge_solution(covariance: Array, right: Array, prior: Array, ridge: float) -> Array:
    """Return `(R + r·d̄·P)·(C + r·d̄·I)⁻¹`, `d̄` being the mean diagonal of `C`.

    It minimises `tr(Ŵ·C·Ŵᵀ) − 2·tr(Ŵ·Rᵀ) + r·d̄·‖Ŵ − P‖²`.

    Args:
        covariance: `C`, `(groups, columns, columns)`.
        right: `R`, what the outputs have in common with the inputs, `(groups, rows, columns)`.
        prior: `P`, where it is drawn to.
        ridge: `r`.
    """
    drawn = damped(covariance, ridge)
    pulled = right + np.matmul(prior, drawn - covariance)
    solved = np.linalg.solve(drawn, pulled.swapaxes(1, 2))
    return np.ascontiguousarray(solved.swapaxes(1, 2))


def aimed(weight: Array, sums: Sums, ridge: float, extra_ridge: float | None = None) -> Array:
    """Return the weight that comes closest to the float branch, drawn to `W` by `ridge`.

    Args:
        weight: `W`, `(groups, rows, columns)`.
        sums: of the layer's inputs in both branches.
        ridge: share of the mean diagonal; the larger, the closer to `W`.
        extra_ridge: the same for the part that makes up for `d`, which is drawn to 0; None leaves
            that part out.
    """
    found = ridge_solution(sums.covariance, _right(weight, sums), weight, ridge)
    extra = sums.extra_covariance
    if extra is None or extra_ridge is None:
        return found
    return found + ridge_solution(sums.covariance, extra, np.zeros_like(weight), extra_ridge)


def validated(weight: Array, halves: Sequence[Sums]) -> tuple[float, float | None]:
    """Return the ridges with which one half of the samples predicts the other best.

    Args:
        weight: `W`, `(groups, rows, columns)`.
        halves: the sums over either half; fewer where there are too few samples.

    Returns:
        `ridge` and `extra_ridge` of `aimed`; the latter None where making up for `d` does not
        carry over from one half to the other, or where nothing is added.
    """
    if len(halves) < 2:
        return FALLBACK, None
    first, second = (_Least.of(weight, half) for half in halves)
    pairs = ((first, second), (second, first))
    errors = [sum(one.error(other, ridge) for one, other in pairs) for ridge in RIDGES]
    ridge = RIDGES[int(np.argmin(errors))]
    if first.extra is None:
        return ridge, None
    errors = [sum(one.extra_error(other, each) for one, other in pairs) for each in RIDGES]
    best = int(np.argmin(errors))
    return ridge, RIDGES[best] if errors[best] < 0.0 else None


@dataclass(frozen=True)
class _Least:
    """What one set of samples says of the least squares, computed once for all ridges.

    Args:
        weight: `W`.
        covariance: `C` of its inputs.
        right: `W·E[t·xᵀ]`.
        extra: `E[d·xᵀ]`; None where nothing is added.
    """

    weight: Array
    covariance: Array
    right: Array
    extra: Array | None

    @classmethod
    def of(cls, weight: Array, sums: Sums) -> "_Least":
        return cls(weight, sums.covariance, _right(weight, sums), sums.extra_covariance)

    def error(self, other: "_Least", ridge: float) -> float:
        """Return the error on other samples of what is aimed at by these, up to a constant."""
        found = ridge_solution(self.covariance, self.right, self.weight, ridge)
        return _off(found, other.covariance, other.right)

    def extra_error(self, other: "_Least", ridge: float) -> float:
        """Return the same of the part that makes up for `d`; 0 is the error without it."""
        assert self.extra is not None
        assert other.extra is not None
        found = ridge_solution(self.covariance, self.extra, np.zeros_like(self.weight), ridge)
        return _off(found, other.covariance, other.extra)


def _off(weight: Array, covariance: Array, right: Array) -> float:
    """Return `tr(Ŵ·C·Ŵᵀ) − 2·tr(Ŵ·Rᵀ)`."""
    return float(np.sum(np.matmul(weight, covariance) * weight) - 2.0 * np.sum(weight * right))


def _right(weight: Array, sums: Sums) -> Array:
    """Return `W·E[t·xᵀ]`."""
    return np.asarray(np.matmul(weight, sums.cross_covariance))
