"""One layer: its float weight, what is known of its inputs, and the integers that fit best."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from fewbits.bias import with_room_for_bias
from fewbits.factors import damped, inverse_factor
from fewbits.layermatrix import from_matrix, weight_matrix
from fewbits.model import Encoding
from fewbits.walk import Visit
from numpy.typing import NDArray

from fewbits_gptq import rounding
from fewbits_gptq.aim import aimed, validated
from fewbits_gptq.options import GptqOptions
from fewbits_gptq.sums import Sums

Array = NDArray[np.float64]

_MOST_SHRUNK = 0.9


@dataclass(frozen=True)
class Solved:
    """A layer's new weight.

    Args:
        weight: on its grid, in the layer's layout.
        encoding: of the weight.
        error_before: `Σ_rows (w − ŵ) H (w − ŵ)ᵀ` of the weight that was there.
        error_after: of the new one.
    """

    weight: NDArray[np.float32]
    encoding: Encoding
    error_before: float
    error_after: float


def solve(visit: Visit, halves: Sequence[Sums], options: GptqOptions) -> Solved:
    """Round a layer's float weight.

    Where a bias makes up for the means, the error is that of the outputs about them. What is aimed
    at is the float weight, or, with the float branch at hand, what brings the quantized branch
    closest to it (`aim`). `damping` gives way to what few samples ask for (`Sums.shrinkage`).

    Args:
        visit: the layer.
        halves: sums of its inputs over either half of the samples.
        options: damping, ridge, order and refinement.
    """
    layer, sums = visit.layer, reduce(Sums.merge, halves)
    weight = weight_matrix(layer, visit.float_weight.astype(np.float64))
    hessian = damped(sums.covariance, np.maximum(options.damping, _asked_by_few(sums)))
    aim = weight if sums.cross is None else _aim(weight, halves, sums, options)
    keep = np.ones(weight.shape, np.bool_)
    if visit.mask is not None:
        keep = weight_matrix(layer, visit.mask)
        aim = np.where(keep, aim, 0.0)
    encoding = _starting_encoding(visit, aim, hessian, options)
    integers, scale = _integers(aim, encoding, hessian, keep, options, _least_scales(visit))
    encoding = with_scales(encoding, scale)
    held = weight_matrix(layer, visit.weight.astype(np.float64))
    new = integers * scale[..., None]
    return Solved(
        from_matrix(layer, new).astype(np.float32),
        encoding,
        float(rounding.output_error(aim - held, hessian).sum()),
        float(rounding.output_error(aim - new, hessian).sum()),
    )


def _aim(weight: Array, halves: Sequence[Sums], sums: Sums, options: GptqOptions) -> Array:
    """Return the weight to aim at, ridges chosen by the samples unless they are given."""
    if options.ridge == "auto":
        return aimed(weight, sums, *validated(weight, halves))
    return aimed(weight, sums, options.ridge, options.ridge)


def _asked_by_few(sums: Sums) -> Array:
    """Return the damping that comes to a shrunk estimate of the covariance, `ρ / (1 − ρ)`."""
    drawn = np.minimum(sums.shrinkage, _MOST_SHRUNK)
    return np.asarray(drawn / (1.0 - drawn))


def _integers(
    aim: Array,
    encoding: Encoding,
    hessian: Array,
    keep: NDArray[np.bool_],
    options: GptqOptions,
    least: Array,
) -> tuple[Array, Array]:
    """Return integers and scales: of several first scales, what comes closest in each row."""
    first = _scales(encoding, aim)
    free = options.scales != "keep" and _own_scales(encoding, aim)
    found: tuple[Array, Array] = np.zeros_like(aim), first
    lowest = np.full(first.shape, np.inf)
    for multiple in options.multiples if free else (1.0,):
        start = np.maximum(first * multiple, least) if free else first
        integers, scale = _refined(aim, start, encoding.qmax, hessian, keep, options, least, free)
        error = rounding.output_error(aim - integers * scale[..., None], hessian)
        better = error < lowest
        lowest = np.where(better, error, lowest)
        found = (
            np.where(better[..., None], integers, found[0]),
            np.where(better, scale, found[1]),
        )
    return found


def _refined(
    aim: Array,
    scale: Array,
    qmax: int,
    hessian: Array,
    keep: NDArray[np.bool_],
    options: GptqOptions,
    least: Array,
    free: bool,
) -> tuple[Array, Array]:
    """Return integers and scales: columns in order first, then refined by turns."""
    integers = _in_order(aim, scale, qmax, hessian, keep, act_order=options.act_order)
    for _ in range(options.refine):
        if free:
            scale = np.maximum(rounding.best_scale(integers, aim, hessian, scale), least)
        integers = rounding.descend(integers, aim, scale, qmax, hessian, keep, passes=1)
    return integers, scale


def _in_order(
    aim: Array,
    scale: Array,
    qmax: int,
    hessian: Array,
    keep: NDArray[np.bool_],
    *,
    act_order: bool,
) -> Array:
    """Return integers rounded in the order of falling input power, or as the columns stand."""
    diagonal = np.diagonal(hessian, axis1=1, axis2=2)
    places = np.arange(aim.shape[-1])[None].repeat(len(aim), axis=0)
    order = np.argsort(-diagonal, axis=1, kind="stable") if act_order else places
    sorted_hessian = np.take_along_axis(hessian, order[:, :, None], axis=1)
    sorted_hessian = np.take_along_axis(sorted_hessian, order[:, None], axis=2)
    factor = inverse_factor(sorted_hessian)
    sorted_aim = np.take_along_axis(aim, order[:, None], axis=2)
    sorted_keep = np.take_along_axis(keep, order[:, None], axis=2)
    found = rounding.round_in_order(sorted_aim, scale, qmax, factor, sorted_keep)
    back = np.argsort(order, axis=1)
    return np.take_along_axis(found, back[:, None], axis=2)


def _starting_encoding(visit: Visit, aim: Array, hessian: Array, options: GptqOptions) -> Encoding:
    """Return the encoding with the scales that rounding begins from, wide enough for the bias."""
    held = visit.weight_encoding
    if options.scales == "keep" or not _own_scales(held, aim):
        return held
    ones = np.ones((len(aim), aim.shape[-1]))
    diagonal = np.diagonal(hessian, axis1=1, axis2=2) if options.scales == "hessian" else ones
    scale = rounding.search_scales(aim, diagonal, held.qmax)
    scale = np.where(scale > 0.0, scale, held.scale.reshape(scale.shape))
    return with_scales(held, np.maximum(scale, _least_scales(visit)))


def _least_scales(visit: Visit) -> Array:
    """Return how small the scales of the weight may be, for the bias to fit; they broadcast."""
    held, source, bias = visit.weight_encoding, visit.source.encoding, visit.bias
    if bias is None or source is None or visit.bias_encoding is None:
        return np.zeros((1, 1))
    if held.scale.size != visit.layer.out_channels:  # it stays as it is
        return np.zeros((1, 1))
    smallest = replace(held, scale=np.zeros_like(held.scale))
    least = with_room_for_bias(smallest, bias, source, visit.bias_encoding.bits).scale
    return least.astype(np.float64).reshape(visit.layer.groups, -1)


def with_scales(encoding: Encoding, scale: Array) -> Encoding:
    """Return an encoding with other scales, if each row of each group has one of its own."""
    if scale.size != encoding.scale.size:
        return encoding
    return replace(encoding, scale=scale.reshape(encoding.scale.shape).astype(np.float32))


def _own_scales(encoding: Encoding, aim: Array) -> bool:
    """Whether each row of each group has a scale of its own."""
    return bool(encoding.scale.size == aim.shape[0] * aim.shape[1])


def _scales(encoding: Encoding, aim: Array) -> Array:
    scale = encoding.scale.astype(np.float64)
    if scale.size != aim.shape[0] * aim.shape[1]:
        scale = np.broadcast_to(scale, aim.shape[:2])
    return scale.reshape(aim.shape[:2])
