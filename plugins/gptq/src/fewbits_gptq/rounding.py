"""Rounding of a weight matrix to integers, its error measured by a Hessian: pure arrays.

With `H = Σ x·xᵀ` the output of a row `w` moves by `(w − ŵ) H (w − ŵ)ᵀ` when it becomes `ŵ = s·q`.
Every function takes all channel groups of a layer at once: weights `(groups, rows, columns)`,
scales `(groups, rows)`, Hessians `(groups, columns, columns)`.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: columns whose updates are gathered before the columns behind them are touched.
BLOCK = 128
_FRACTIONS = np.linspace(1.0, 0.4, 31)


def output_error(difference: Array, hessian: Array) -> Array:
    """Return `(w − ŵ) H (w − ŵ)ᵀ` of each row, `(groups, rows)`.

    Args:
        difference: `W − Ŵ`.
        hessian: `H`.
    """
    return np.asarray(np.sum(np.matmul(difference, hessian) * difference, axis=-1))


def search_scales(weight: Array, importance: Array, qmax: int) -> Array:
    """Return the scale of each row with the least `Σ_j h_j (w_j − s·q_j)²`, rounding to nearest.

    Scales from 40 % to 100 % of `max |w| / qmax` are tried.

    Args:
        weight: the weights.
        importance: `h`, `(groups, columns)`: the Hessian's diagonal, or ones for plain error.
        qmax: largest integer; the range is symmetric.
    """
    peak = np.abs(weight).max(axis=-1) / qmax
    best: Array = peak
    least = np.full(peak.shape, np.inf)
    for fraction in _FRACTIONS:
        scale = peak * fraction
        error = weight - nearest(weight, scale, qmax) * scale[..., None]
        cost = np.einsum("grc,gc->gr", error**2, importance)
        best, least = np.where(cost < least, scale, best), np.minimum(cost, least)
    return best


def nearest(weight: Array, scale: Array, qmax: int) -> Array:
    """Return `clip(round_half_even(w / s), −qmax, qmax)`; zero where the scale is."""
    step = scale[..., None]
    steps = np.divide(weight, step, out=np.zeros_like(weight), where=step > 0.0)
    return np.asarray(np.clip(np.rint(steps), -qmax, qmax))


def round_in_order(weight: Array, scale: Array, qmax: int, factor: Array, keep: Mask) -> Array:
    """Round column by column, each error taken up by the columns behind it.

    Frantar et al. 2022 (GPTQ), algorithm 1: with `H⁻¹ = Uᵀ·U`, rounding column `j` to `ŵ_j`
    moves the columns behind it by `−(w_j − ŵ_j) / U_jj · U[j, :]`.

    Args:
        weight: the weights, in the order of rounding.
        scale: of each row.
        qmax: largest integer.
        factor: `U`, `(groups, columns, columns)`.
        keep: which weights may be other than zero.

    Returns:
        Integers as float64, the shape of `weight`.
    """
    left, integers = weight.copy(), np.zeros_like(weight)
    total = weight.shape[-1]
    for start in range(0, total, BLOCK):
        stop = min(start + BLOCK, total)
        errors = np.zeros((*weight.shape[:2], stop - start))
        for column in range(start, stop):
            here = left[..., column]
            q = nearest(here[..., None], scale, qmax)[..., 0] * keep[..., column]
            error = (here - q * scale) / factor[:, column, column, None]
            left[..., column:stop] -= error[..., None] * factor[:, None, column, column:stop]
            integers[..., column], errors[..., column - start] = q, error
        left[..., stop:] -= np.matmul(errors, factor[:, start:stop, stop:])
    return integers


def descend(
    integers: Array,
    weight: Array,
    scale: Array,
    qmax: int,
    hessian: Array,
    keep: Mask,
    *,
    passes: int,
) -> Array:
    """Move each integer to where the output's error is least, the others fixed, column by column.

    `q_j ← clip(round((ŵ_j + [(w − ŵ) H]_j / H_jj) / s))`: cyclic coordinate descent (Behdin et al.
    2023, QuantEase). The error of no row rises.

    Args:
        integers: where to start.
        weight: the weights aimed at.
        scale: of each row.
        qmax: largest integer.
        hessian: `H`, its diagonal positive.
        keep: which weights may be other than zero.
        passes: how often to go through the columns.
    """
    new = integers.copy()
    for _ in range(passes):
        gradient = np.matmul(weight - new * scale[..., None], hessian)
        before = new.copy()
        for start in range(0, weight.shape[-1], BLOCK):
            part = slice(start, min(start + BLOCK, weight.shape[-1]))
            moved = _descend_block(new, gradient, scale, qmax, hessian, keep, part)
            gradient -= np.matmul(moved, hessian[:, part])
        if np.array_equal(before, new):
            break
    return new


def _descend_block(
    integers: Array,
    gradient: Array,
    scale: Array,
    qmax: int,
    hessian: Array,
    keep: Mask,
    part: slice,
) -> Array:
    """Move the integers of some columns in place; return how far the weights moved."""
    inside, near = gradient[..., part].copy(), hessian[:, part, part]
    before = integers[..., part].copy()
    for place in range(inside.shape[-1]):
        column = part.start + place
        held = integers[..., column]
        aim = held * scale + inside[..., place] / near[:, place, place, None]
        q = nearest(aim[..., None], scale, qmax)[..., 0] * keep[..., column]
        inside -= ((q - held) * scale)[..., None] * near[:, None, place]
        integers[..., column] = q
    return np.asarray((integers[..., part] - before) * scale[..., None])


def best_scale(integers: Array, weight: Array, hessian: Array, scale: Array) -> Array:
    """Return the scale of each row that fits its integers best, `s = (q H wᵀ) / (q H qᵀ)`.

    A row for which that is not positive keeps the scale it has.
    """
    ahead = np.matmul(integers, hessian)
    above, below = np.sum(ahead * weight, axis=-1), np.sum(ahead * integers, axis=-1)
    found = np.divide(above, below, out=np.zeros_like(above), where=below > 0.0)
    return np.where(found > 0.0, found, scale)
