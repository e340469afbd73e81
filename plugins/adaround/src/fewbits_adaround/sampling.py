"""Columns of a layer's input and what the float layer makes of them, drawn from a walk."""

from dataclasses import dataclass
from math import prod

import numpy as np
from fewbits.graph import clip_bounds, upper_bounds
from fewbits.layermatrix import columns_at, positions, weight_matrix
from fewbits.walk import Visit
from numpy.typing import NDArray

Array = NDArray[np.float32]

#: bytes of the columns of one layer.
COLUMN_BYTES = 192 << 20


@dataclass(frozen=True)
class Columns:
    """Positions of a layer, drawn at random, samples in order.

    Args:
        x: the quantized layer's input, `(g, d, p)`.
        target: what the float layer gives behind its activation, `(g, o, p)`.
        samples: how many samples they come from.
        each: positions of one sample.
    """

    x: Array
    target: Array
    samples: int
    each: int


@dataclass(frozen=True)
class Activation:
    """What is fused behind a layer: `min(max(z, low), high)`.

    Args:
        low: lower bound; minus infinity without one.
        high: upper bounds by channel, `(g, o, 1)`.
    """

    low: float
    high: Array

    def __call__(self, z: Array) -> Array:
        """Return the activation of `(g, o, p)`."""
        return np.asarray(np.minimum(np.maximum(z, np.float32(self.low)), self.high), np.float32)


def activation(visit: Visit) -> Activation:
    """Return the activation that is fused behind the float layer."""
    layer = visit.float_layer
    found = None if layer.activation is None else clip_bounds(layer.activation)
    low, high = found or (-np.inf, np.inf)
    bounds = np.full(layer.out_channels, high, np.float32)
    if layer.bound is not None:
        upper = upper_bounds(layer.bound)
        assert upper is not None
        bounds = np.minimum(bounds, np.broadcast_to(upper.ravel(), bounds.shape))
    return Activation(low, bounds.reshape(layer.groups, -1, 1))


def draw(visit: Visit, wanted: int, rng: np.random.Generator) -> Columns:
    """Draw output positions of a layer, as many of each sample.

    Args:
        visit: of a walk with its float branch.
        wanted: positions in all, about; no more than fit into `COLUMN_BYTES`.
        rng: draws.
    """
    assert visit.float_source is not None
    layer, act = visit.float_layer, activation(visit)
    weight = weight_matrix(layer, visit.float_weight)
    bias = visit.float_bias.reshape(weight.shape[0], -1, 1)
    parts: list[tuple[Array, Array]] = []
    count = each = 0
    total = len(visit.source)
    size = 4 * prod(weight.shape[:1]) * (weight.shape[2] + weight.shape[1])
    most = max(min(wanted, COLUMN_BYTES // size) // max(total, 1), 1)
    for q, real in zip(visit.source.batches(), visit.float_source.batches(), strict=True):
        quantized = visit.source.real(q)
        there = positions(layer, quantized)
        each = min(most, there)
        order = rng.random((len(quantized), there)).argpartition(each - 1, axis=1)
        places = order[:, :each]
        z = np.matmul(weight, columns_at(layer, real, places)) + bias
        parts.append((columns_at(layer, quantized, places), act(z)))
        count += len(quantized)
    x, target = (np.concatenate(each_of, axis=2) for each_of in zip(*parts, strict=True))
    return Columns(x, target, count, each)


def shuffled(columns: Columns, rng: np.random.Generator) -> Columns:
    """Return the same columns in random order, so that any run of them is a fair draw."""
    order = rng.permutation(columns.x.shape[2])
    return Columns(columns.x[..., order], columns.target[..., order], columns.samples, columns.each)


def halves(columns: Columns, share: float) -> tuple[Columns, Columns]:
    """Split columns by sample: those to learn from, and the last `share` to judge by."""
    judged = max(round(columns.samples * share), 1) if columns.samples > 1 else 0
    cut = (columns.samples - judged) * columns.each
    return (
        Columns(
            columns.x[..., :cut], columns.target[..., :cut], columns.samples - judged, columns.each
        ),
        Columns(columns.x[..., cut:], columns.target[..., cut:], judged, columns.each),
    )
