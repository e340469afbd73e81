"""Chooses the factors of all classes by the rounding noise to expect."""

from collections.abc import Mapping, Sequence

import numpy as np
from fewbits.calibration import TensorStatistics
from fewbits.channels import ChannelGroup, Channels

from fewbits_equalization.expected import Part, expected_noise, least_noise
from fewbits_equalization.factors import Vector
from fewbits_equalization.noise import Grids, Noise
from fewbits_equalization.ranges import activation_ranges, upper_bounds

SWEEPS = 2
FARTHEST = 1e4
LEAST_GAIN = 0.02  # share of the noise; the estimate is not worth more
MOST_PER_CHANNEL = 2.0  # weights have less to gain then, so less is staked


def by_noise(
    channels: Channels,
    groups: Sequence[ChannelGroup],
    statistics: Mapping[str, TensorStatistics],
    *,
    shared: bool,
    grids: Grids,
) -> Vector:
    """Return the factors for which the least rounding noise is to be expected.

    Args:
        channels: from `find_channels`.
        groups: of `channels`.
        statistics: extremes per channel of the tensors that carry the channels.
        shared: keep to factors with which one upper bound does for a whole clipped tensor.
        grids: how weights and activations will be rounded.

    Returns:
        `(channels.count,)`; 1 for class 0, in groups where too little would be gained, and
        everywhere if `grids` give no gain to expect.
    """
    factors = np.ones(channels.count)
    if not grids.gain_to_expect:
        return factors
    noise = Noise.over(channels, statistics, grids)
    free = [group for group in groups if group.size and group.consumers]
    tensors = [noise.of_tensors(group, channels, statistics) for group in free]
    farthest = MOST_PER_CHANNEL if grids.per_channel else FARTHEST
    limits = [_limits(group, channels, statistics, shared, farthest) for group in free]
    for _ in range(SWEEPS):
        for group, fixed, (low, high) in zip(free, tensors, limits, strict=True):
            now = factors[group.classes]
            parts = _parts(noise, group, fixed, factors)
            step = least_noise(parts, np.ones(group.size), low / now, high / now)
            factors[group.classes] = now * step
    for group, fixed in zip(free, tensors, strict=True):
        now, parts = factors[group.classes], _parts(noise, group, fixed, factors)
        least = (1.0 - LEAST_GAIN) * expected_noise(parts, 1.0 / now)
        if expected_noise(parts, np.ones(group.size)) > least:
            factors[group.classes] = 1.0
    return factors


def _parts(
    noise: Noise, group: ChannelGroup, tensors: Sequence[Part], factors: Vector
) -> list[Part]:
    """Return a group's parts as the factors have left them."""
    now = factors[group.classes]
    values = [Part(part.reach * now, part.noise / now**2, 1) for part in tensors]
    return [*noise.of_weights(group, factors), *values]


def _limits(
    group: ChannelGroup,
    channels: Channels,
    statistics: Mapping[str, TensorStatistics],
    shared: bool,
    farthest: float,
) -> tuple[Vector, Vector]:
    """Return the smallest and the largest factor of each channel.

    Behind a clip at `B` they lie between 1 and `B / a`, and an encoding that ends at `B` implies
    every bound `B f`.
    """
    low, high = np.full(group.size, 1.0 / farthest), np.full(group.size, farthest)
    for operand in group.operands if shared else ():
        if not operand.is_clip:
            continue
        bounds = upper_bounds(group, operand)
        clipped = np.isfinite(bounds)
        reach = activation_ranges(group, [str(operand.node.outputs[0].name)], channels, statistics)
        top = reach[0] if len(reach) else bounds
        most = bounds / np.maximum(top, bounds / farthest)
        low[clipped] = 1.0
        high[clipped] = np.minimum(high, np.maximum(most, 1.0))[clipped]
    return low, high
