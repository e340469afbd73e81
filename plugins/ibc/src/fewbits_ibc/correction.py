"""One layer of a walk: its bias moved until its outputs have the float layer's means."""

from dataclasses import dataclass

import numpy as np
from fewbits.numerics import fake_quantize
from fewbits.walk import Visit
from numpy.typing import NDArray

from fewbits_ibc.outputs import clipped_mean, product_mean, respond
from fewbits_ibc.shift import linear_shift

Array = NDArray[np.float64]

#: samples that say how a layer's means answer to its bias.
HEAD = 32
#: Newton's steps on those samples.
STEPS = 3


@dataclass(frozen=True)
class Corrected:
    """What became of a layer.

    Args:
        before: its shift with everything upstream corrected, `(out,)`.
        after: what is left of it, `(out,)`.
        changed: whether the bias is another one.
    """

    before: Array
    after: Array
    changed: bool


@dataclass(frozen=True)
class Aim:
    """A layer's means in full precision, behind its activation if it has one.

    Args:
        head: over the first `HEAD` samples, `(out,)`.
        whole: over all samples, `(out,)`.
    """

    head: Array
    whole: Array


def correct_linear(visit: Visit, wanted: Array) -> Corrected:
    """Give a layer the means in front of its activation, without running it.

    `b += E_float[z] − (W_q·E[x̂] + b)`; what is left is the rounding of the bias.

    Args:
        visit: a layer that has a bias.
        wanted: `E_float[z]`, `(out,)`.
    """
    held, product = _bias(visit), product_mean(visit)
    before = linear_shift(wanted, product, held)
    bias = _on_grid(visit, held + before)
    return Corrected(before, linear_shift(wanted, product, bias), _replace(visit, bias))


def correct_clipped(visit: Visit, aim: Aim, threads: int | None) -> Corrected:
    """Give a layer the means behind its activation.

    The first samples say how the means answer to the bias, and about where it must be; all
    samples then say what is left, which is small, and it is moved by that once more.

    Args:
        visit: a layer that has a bias and an activation.
        aim: its means in full precision.
        threads: threads of the runtime.
    """
    held = _bias(visit)
    seen, response = respond(visit, held, min(HEAD, len(visit.source)), threads)
    rough = response.move(aim.head - seen, np.zeros(len(held)), STEPS)
    left = aim.whole - clipped_mean(visit, held + rough, threads)
    bias = _on_grid(visit, held + response.move(left, rough, STEPS))
    so_far = response.mean(rough)
    before = left + so_far - response.rest
    after = left + so_far - response.mean(bias - held)
    return Corrected(before, after, _replace(visit, bias))


def _bias(visit: Visit) -> Array:
    assert visit.bias is not None
    return visit.bias.astype(np.float64)


def _on_grid(visit: Visit, bias: Array) -> Array:
    assert visit.bias_encoding is not None
    return fake_quantize(bias, visit.bias_encoding).astype(np.float64)


def _replace(visit: Visit, bias: Array) -> bool:
    """Give a layer a bias on its grid; return whether it is another than the layer has."""
    if np.array_equal(_bias(visit), bias):
        return False
    visit.replace(bias=bias)
    return True
