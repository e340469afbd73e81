"""Optimal brain surgeon on one layer: pure functions of a weight matrix and its Hessian.

With `H = 2·Σ x·xᵀ` the output of a row `w` moves by `½ (w − ŵ) H (w − ŵ)ᵀ` when it becomes `ŵ`.
Hassibi et al. 1993: pruning `w_j` costs `½ w_j² / [H⁻¹]_jj` when the others take it up by
`δw = −w_j / [H⁻¹]_jj · H⁻¹[j, :]`. Frantar and Alistarh 2023 (SparseGPT): go through the columns in
order, so that one Cholesky factor `H⁻¹ = Uᵀ·U` serves all rows: `U_jj²` is `[H⁻¹]_jj` with the
columns before `j` fixed, and `U[j, j:] / U_jj` its row.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fewbits_pruning.selection import Keep, Pattern, by_pattern, choices, smallest

Matrix = NDArray[np.float64]
#: `choose(weight, factor, allowed, start)` → which of some columns to keep; see `prune`.
Choose = Callable[[Matrix, Matrix, Keep, int], Keep]

#: columns whose updates are gathered before the columns behind them are touched.
BLOCK = 128


def saliency(weight: Matrix, factor: Matrix) -> Matrix:
    """Return `w_j² / [H⁻¹]_jj`: twice what pruning each weight by itself costs.

    Args:
        weight: `(rows, columns)`.
        factor: `U` with `H⁻¹ = Uᵀ·U`.
    """
    found: Matrix = weight**2 / np.square(factor).sum(axis=0)
    return found


def prune(
    weight: Matrix, factor: Matrix, allowed: Keep, choose: Choose, *, width: int
) -> tuple[Matrix, Keep]:
    """Prune column by column, each pruned weight taken up by the columns behind it.

    Args:
        weight: `(rows, columns)`.
        factor: `U` with `H⁻¹ = Uᵀ·U`.
        allowed: which weights may stay at all.
        choose: called with the weights, the factor and the allowed places of the next `width`
            columns and the first one's number; returns which to keep.
        width: how many columns are chosen at once.

    Returns:
        The new weight and which of it may be other than zero.
    """
    rows, total = weight.shape
    new, keep = weight.copy(), allowed.copy()
    block = max(BLOCK // width, 1) * width
    for start in range(0, total, block):
        stop = min(start + block, total)
        errors = np.zeros((rows, stop - start))
        for column in range(start, stop):
            if (column - start) % width == 0:
                part = slice(column, min(column + width, stop))
                keep[:, part] &= choose(new[:, part], factor[part, part], allowed[:, part], column)
            gone = ~keep[:, column]
            error = np.where(gone, new[:, column], 0.0) / factor[column, column]
            new[:, column:stop] -= error[:, None] * factor[column, column:stop]
            new[gone, column] = 0.0
            errors[:, column - start] = error
        new[:, stop:] -= errors @ factor[start:stop, stop:]
    return new, keep


def choose_pattern(pattern: Pattern) -> Choose:
    """Return a choice of N:M runs: the one of all that costs least, in the order of `prune`.

    Where there are too many to try, the weights of least `w_j² / U_jj²` go.
    """
    ways = choices(pattern)

    def choose(weight: Matrix, factor: Matrix, allowed: Keep, start: int) -> Keep:
        if ways is None:
            return by_pattern(_alone(weight, factor, allowed), pattern)
        costs = np.stack([_cost(weight, factor, allowed & np.array(way)) for way in ways])
        keep: Keep = np.array(ways)[costs.argmin(axis=0)]
        return keep

    return choose


def _alone(weight: Matrix, factor: Matrix, allowed: Keep) -> Matrix:
    """Return `w_j² / U_jj²`; −1 where a weight is not allowed."""
    return np.where(allowed, np.square(weight / np.diag(factor)), -1.0)


def _cost(weight: Matrix, factor: Matrix, keep: Keep) -> Matrix:
    """Return `Σ_j (w_j / U_jj)²` over the pruned columns, each after those before it, `(rows,)`."""
    new, cost = weight.copy(), np.zeros(len(weight))
    for column in np.flatnonzero(~keep.all(axis=0)):
        error = np.where(keep[:, column], 0.0, new[:, column]) / factor[column, column]
        new[:, column:] -= error[:, None] * factor[column, column:]
        cost += error**2
    return cost


def choose_counts(counts: NDArray[np.integer]) -> Choose:
    """Return a choice of the weights of least `w_j² / U_jj²`, so many in each block of columns.

    Args:
        counts: how many weights go, by number of the block of `BLOCK` columns.
    """

    def choose(weight: Matrix, factor: Matrix, allowed: Keep, start: int) -> Keep:
        return smallest(_alone(weight, factor, allowed), int(counts[start // BLOCK]))

    return choose


def counts_by_block(keep: Keep) -> NDArray[np.int64]:
    """Return how many weights are pruned in each block of columns.

    Args:
        keep: `(rows, columns)`.
    """
    starts = np.arange(0, keep.shape[1], BLOCK)
    return np.add.reduceat((~keep).sum(axis=0), starts)


def refit(start: Matrix, target: Matrix, keep: Keep, hessian: Matrix, *, steps: int = 50) -> Matrix:
    """Move the weights that are left to where the output is closest, row by row.

    Minimises `½ (ŵ − w) H (ŵ − w)ᵀ` over `ŵ` that are zero outside `keep`: conjugate gradients with
    the diagonal as preconditioner, all rows at once. The cost never rises.

    Args:
        start: `(rows, columns)`, zero outside `keep`.
        target: the weight before it was pruned.
        keep: which weights may be other than zero.
        hessian: `(columns, columns)`, positive definite.
        steps: at most so many steps; fewer when nothing moves any more.
    """
    scale = np.diag(hessian)
    new = start.copy()
    residual = np.where(keep, (target - start) @ hessian, 0.0)
    scaled = residual / scale
    direction = scaled
    power = (residual * scaled).sum(axis=1)
    enough = 1e-12 * np.einsum("rc,c,rc->r", target, scale, target)
    for _ in range(steps):
        if (power <= enough).all():
            break
        ahead = np.where(keep, direction @ hessian, 0.0)
        curvature = (direction * ahead).sum(axis=1)
        step = np.divide(power, curvature, out=np.zeros_like(power), where=curvature > 0.0)
        new += step[:, None] * direction
        residual = residual - step[:, None] * ahead
        scaled = residual / scale
        last, power = power, (residual * scaled).sum(axis=1)
        ratio = np.divide(power, last, out=np.zeros_like(power), where=last > 0.0)
        direction = scaled + ratio[:, None] * direction
    return new
