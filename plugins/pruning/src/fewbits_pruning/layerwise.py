"""Pruning of one layer, given its weight as matrices and the moments of its input."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from fewbits.factors import damped, inverse_factor
from fewbits.graph import Layer
from fewbits.hessian import Moments
from fewbits.metrics import SNR_LIMIT_DB
from numpy.typing import NDArray

from fewbits_pruning import obs
from fewbits_pruning.selection import Keep, Pattern, by_pattern, smallest

Matrices = NDArray[np.float64]

_MOST_SHRUNK = 0.9


@dataclass(frozen=True)
class Task:
    """One layer to prune.

    Args:
        layer: the layer itself.
        weight: `(groups, rows, columns)`; runs of a pattern lie along the columns.
        allowed: which weights may stay at all, by earlier masks; same shape.
        moments: of its input, in the order of the columns; None where nothing is known.
        centered: whether the bias makes up for the mean.
        damping: share of the Hessian's mean diagonal added to it.
    """

    layer: Layer
    weight: Matrices
    allowed: Keep
    moments: Moments | None
    centered: bool
    damping: float

    @cached_property
    def hessians(self) -> Matrices:
        """The Hessian of each group, damped, `(groups, columns, columns)`.

        With few samples more than `damping` is added: what a shrunk estimate of the covariance
        asks for, `ρ / (1 − ρ)` of the mean diagonal.
        """
        assert self.moments is not None
        plain = self.moments.hessian(centered=self.centered)
        drawn = np.minimum(self.moments.shrinkage, _MOST_SHRUNK)
        shares = np.maximum(self.damping, drawn / (1.0 - drawn))
        return np.stack([damped(h, share) for h, share in zip(plain, shares, strict=True)])


@dataclass(frozen=True)
class Pruned:
    """What became of a layer.

    Args:
        weight: `(groups, rows, columns)`.
        keep: which of them may be other than zero.
    """

    weight: Matrices
    keep: Keep


def scores(task: Task, method: str) -> NDArray[np.float64]:
    """Return how much each weight matters, `(groups, rows, columns)`; −1 where a mask forbids it.

    By magnitude `|w|`; by obs `w² / [H⁻¹]_jj` as a share of the power of the layer's output, so
    that layers can be compared.
    """
    if method == "magnitude":
        found = np.abs(task.weight)
    else:
        found = np.empty_like(task.weight)
        power = 0.0
        for group, weight in enumerate(task.weight):
            hessian = task.hessians[group]
            found[group] = obs.saliency(weight, inverse_factor(hessian))
            power += float(np.sum((weight @ hessian) * weight))
        found /= max(power, np.finfo(np.float64).tiny)
    return np.where(task.allowed, found, -1.0)


def by_magnitude(task: Task, amount: Pattern | int) -> Pruned:
    """Prune the smallest weights: so many, or by pattern."""
    ranked = np.where(task.allowed, np.abs(task.weight), -1.0)
    chosen = by_pattern(ranked, amount) if isinstance(amount, Pattern) else smallest(ranked, amount)
    keep = chosen & task.allowed
    return Pruned(np.where(keep, task.weight, 0.0), keep)


def by_obs(task: Task, amount: Pattern | int) -> Pruned:
    """Prune what matters least to the output, and move the other weights to make up for it."""
    factors = np.stack([inverse_factor(hessian) for hessian in task.hessians])
    weight, keep = np.empty_like(task.weight), np.empty_like(task.allowed)
    width = amount.run if isinstance(amount, Pattern) else obs.BLOCK
    for group, choose in enumerate(_choices(task, factors, amount)):
        was = task.weight[group]
        new, keep[group] = obs.prune(was, factors[group], task.allowed[group], choose, width=width)
        weight[group] = obs.refit(new, was, keep[group], task.hessians[group])
    return Pruned(weight, keep)


def _choices(task: Task, factors: Matrices, amount: Pattern | int) -> list[obs.Choose]:
    """Return how weights are chosen in each group."""
    if isinstance(amount, Pattern):
        return [obs.choose_pattern(amount)] * len(factors)
    alone = np.stack([obs.saliency(w, u) for w, u in zip(task.weight, factors, strict=True)])
    first = smallest(np.where(task.allowed, alone, -1.0), amount)
    return [obs.choose_counts(obs.counts_by_block(keep)) for keep in first]


def mean_shift(task: Task, new: Matrices) -> NDArray[np.float64]:
    """Return `(W − Ŵ)·E[x]`, what the bias must take up, `(groups · rows,)`.

    Args:
        task: the layer before.
        new: `Ŵ`.
    """
    assert task.moments is not None
    shift: NDArray[np.float64] = np.einsum("grc,gc->gr", task.weight - new, task.moments.mean)
    return shift.ravel()


def output_snr(
    task: Task, new: Matrices, bias: NDArray[np.float64], shift: NDArray[np.float64]
) -> float:
    """Return the layer's output SNR over all samples, before its activation, in dB.

    `10 · log10(Σ ‖W·x + b‖² / Σ ‖(W − Ŵ)·x − shift‖²)`, from the moments alone.

    Args:
        task: the layer before.
        new: `Ŵ`.
        bias: `b`, `(groups · rows,)`.
        shift: what was added to it.
    """
    assert task.moments is not None
    signal = _power(task.moments, task.weight, bias)
    noise = _power(task.moments, task.weight - new, -shift)
    if noise <= 0.0 or signal <= 0.0:
        return SNR_LIMIT_DB if noise <= 0.0 else -SNR_LIMIT_DB
    return float(np.clip(10.0 * np.log10(signal / noise), -SNR_LIMIT_DB, SNR_LIMIT_DB))


def _power(moments: Moments, weight: Matrices, offset: NDArray[np.float64]) -> float:
    """Return `Σ ‖W·x + o‖²` over all samples and positions."""
    split = offset.reshape(weight.shape[:2])
    square = np.sum(np.matmul(weight, moments.second) * weight)
    mixed = np.sum(split * np.einsum("grc,gc->gr", weight, moments.first))
    return float(square + 2.0 * mixed + moments.count * np.sum(split**2))
