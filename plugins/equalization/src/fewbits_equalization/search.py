"""Chooses the factors of all classes: in one pass through the network, or until nothing moves."""

from collections.abc import Mapping, Sequence

import numpy as np
from fewbits.calibration import TensorStatistics
from fewbits.channels import ChannelGroup, Channels

from fewbits_equalization.factors import Vector, balanced, importance, toward_widest
from fewbits_equalization.ranges import (
    activation_ranges,
    consumer_ranges,
    kernels,
    producer_ranges,
)

SWEEPS = 100
SETTLED = 1e-3


def in_one_pass(
    channels: Channels,
    groups: Sequence[ChannelGroup],
    statistics: Mapping[str, TensorStatistics],
    *,
    cap: float,
    weighted: bool,
) -> Vector:
    """Return factors by one-step or two-step equalization (Meller et al. 2019).

    `f_i = min(K / k_i, A / a_i, cap)` over every producer's weights `k` and every tensor's values
    `a`, in the network's order, each group with the kernels as the groups before have left them.

    Args:
        channels: from `find_channels`.
        groups: of `channels`.
        statistics: extremes per channel of the tensors that carry the channels.
        cap: largest factor.
        weighted: two-step: what consumers hardly read sets no standard.

    Returns:
        `(channels.count,)`; 1 for class 0.
    """
    factors = np.ones(channels.count)
    layers = kernels(channels)
    for group in groups:
        if not group.size or not group.consumers:
            continue
        m = np.ones(group.size)
        if weighted:
            m = importance(consumer_ranges(group, layers, factors))
        found = np.full(group.size, cap)
        for k in producer_ranges(group, layers, factors):
            found = np.minimum(found, toward_widest(k, m))
        for a in activation_ranges(group, statistics, channels, statistics):
            found = np.minimum(found, toward_widest(a, m))
        factors[group.classes] = found
    return factors


def cross_layer(channels: Channels, groups: Sequence[ChannelGroup]) -> Vector:
    """Return factors by cross-layer equalization (Nagel et al. 2019), swept until they settle.

    Returns:
        `(channels.count,)`; 1 for class 0.
    """
    factors = np.ones(channels.count)
    layers = kernels(channels)
    free = [group for group in groups if group.size and group.consumers]
    for _ in range(SWEEPS):
        moved = 0.0
        for group in free:
            step = balanced(
                producer_ranges(group, layers, factors), consumer_ranges(group, layers, factors)
            )
            factors[group.classes] *= step
            moved = max(moved, float(np.abs(np.log(step)).max()))
        if moved < SETTLED:
            break
    return factors
