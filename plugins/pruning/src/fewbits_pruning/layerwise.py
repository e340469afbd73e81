"""Pruning of one layer, given its weight as matrices and the moments of its input."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from fewbits.graph import Layer
from fewbits.hessian import Moments
from fewbits.metrics import SNR_LIMIT_DB
from numpy.typing import NDArray

from fewbits_pruning import obs
from fewbits_pruning.selection import Keep, Pattern, by_pattern, smallest

Matrices = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """One layer to prune.

    Args:
        layer: the layer itself.
        weight: `(groups, rows, columns)`; runs of a pattern lie along the columns.
        allowed: which weights may stay at all, by earlier masks; same shape.
        moments: of its input, in the order of the columns; None where nothing is known.
        centered: whether the bias makes up for the mean.
    """

    layer: Layer
    weight: Matrices
    allowed: Keep
    moments: Moments | None
    centered: bool

    def hessian(self, group: int, damping: float) -> NDArray[np.float64]:
        """Return one group's Hessian, damped."""
        assert self.moments is not None
        one = Moments(
            self.moments.second[group : group + 1],
            self.moments.first[group : group + 1],
            self.moments.count,
        )
        return obs.damped(one.hessian(centered=self.centered)[0], damping)


@dataclass(frozen=True)
class Pruned:
    """What became of a layer.

    Args:
        weight: `(groups, rows, columns)`.
        keep: which of them may be other than zero.
    """

    weight: Matrices
    keep: Keep


def scores(task: Task, method: str, damping: float) -> NDArray[np.float64]:
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
            hessian = task.hessian(group, damping)
            found[group] = obs.saliency(weight, obs.inverse_factor(hessian))
            power += float(np.sum((weight @ hessian) * weight))
        found /= max(power, np.finfo(np.float64).tiny)
    return np.where(task.allowed, found, -1.0)


def by_magnitude(task: Task, amount: Pattern | int) -> Pruned:
    """Prune the smallest weights: so many, or by pattern."""
    ranked = np.where(task.allowed, np.abs(task.weight), -1.0)
    chosen = by_pattern(ranked, amount) if isinstance(amount, Pattern) else smallest(ranked, amount)
    keep = chosen & task.allowed
    return Pruned(np.where(keep, task.weight, 0.0), keep)


def by_obs(task: Task, amount: Pattern | int, damping: float) -> Pruned:
    """Prune what matters least to the output, and move the other weights to make up for it."""
    weight, keep = np.empty_like(task.weight), np.empty_like(task.allowed)
    first = None
    if not isinstance(amount, Pattern):
        first = smallest(scores(task, "obs", damping), amount)
    for group, target in enumerate(task.weight):
        hessian = task.hessian(group, damping)
        factor = obs.inverse_factor(hessian)
        if isinstance(amount, Pattern):
            choose, width = obs.choose_pattern(amount), amount.run
        else:
            assert first is not None
            choose, width = obs.choose_counts(obs.counts_by_block(first[group])), obs.BLOCK
        new, keep[group] = obs.prune(target, factor, task.allowed[group], choose, width=width)
        weight[group] = obs.refit(new, target, keep[group], hessian)
    return Pruned(weight, keep)


def mean_shift(task: Task, weight: Matrices) -> NDArray[np.float64]:
    """Return `(W − Ŵ)·E[x]`, what the bias must take up, `(groups · rows,)`."""
    assert task.moments is not None
    shift: NDArray[np.float64] = np.einsum("grc,gc->gr", task.weight - weight, task.moments.mean)
    return shift.ravel()


def output_snr(
    task: Task, weight: Matrices, bias: NDArray[Any], shift: NDArray[np.float64]
) -> float:
    """Return the layer's output SNR over all samples, before its activation, in dB.

    `10 · log10(Σ ‖W·x + b‖² / Σ ‖(W − Ŵ)·x − shift‖²)`, from the moments alone.

    Args:
        task: the layer before.
        weight: `Ŵ`.
        bias: `b`, `(groups · rows,)`.
        shift: what was added to it.
    """
    signal = _power(task.weight, bias, task.moments)
    noise = _power(task.weight - weight, -shift, task.moments)
    if noise <= 0.0 or signal <= 0.0:
        return SNR_LIMIT_DB if noise <= 0.0 else -SNR_LIMIT_DB
    return float(np.clip(10.0 * np.log10(signal / noise), -SNR_LIMIT_DB, SNR_LIMIT_DB))


def _power(weight: Matrices, bias: NDArray[Any], moments: Moments | None) -> float:
    """Return `Σ ‖W·x + b‖²`."""
    assert moments is not None
    offset = bias.reshape(weight.shape[:2])
    square = np.einsum("grc,grc->", np.matmul(weight, moments.second), weight)
    cross = np.einsum("gr,grc,gc->", offset, weight, moments.first, optimize=True)
    return float(square + 2.0 * cross + moments.count * np.sum(offset**2))
