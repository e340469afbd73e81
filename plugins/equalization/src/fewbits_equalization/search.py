"""Chooses the factors of all classes: in one pass through the network, or until nothing moves."""

from collections.abc import Mapping, Sequence

import numpy as np
from fewbits.calibration import TensorStatistics
from fewbits.channels import ChannelGroup, Channels

from fewbits_equalization.factors import (
    TINY,
    Vector,
    balanced,
    importance,
    sharing_bounds,
    toward_widest,
)
from fewbits_equalization.ranges import (
    Kernel,
    activation_ranges,
    by_class,
    consumer_ranges,
    kernels,
    producer_ranges,
    upper_bounds,
)

SWEEPS = 40
SETTLED = 5e-3
FARTHEST = 1e6  # factors beyond would come near the ends of float32


def in_one_pass(
    channels: Channels,
    groups: Sequence[ChannelGroup],
    statistics: Mapping[str, TensorStatistics],
    *,
    cap: float,
    weighted: bool,
    shared: bool,
    lows: Mapping[str, Vector] | None = None,
) -> Vector:
    """Return factors by one-step or two-step equalization (Meller et al. 2019).

    `f_i = min(K / k_i, A / a_i, cap, max(A / p_i, 1))` over every producer's weights `k`, every
    tensor's values `a` and how far `p` values fall below zero before the activation, in the
    network's order, each group with the kernels as the groups before have left them.

    Args:
        channels: from `find_channels`.
        groups: of `channels`.
        statistics: extremes per channel of the tensors that carry the channels.
        cap: largest factor.
        weighted: two-step: what consumers hardly read sets no standard.
        shared: keep to factors with which one upper bound does for a whole clipped tensor.
        lows: layer → `p`, `(channels,)`; without it that bound is left out.

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
        found = np.minimum(found, _above_lows(group, channels, statistics, lows or {}, m))
        found = np.exp2(np.floor(np.log2(np.maximum(found, TINY))))  # no rounding in any layer
        factors[group.classes] = _settled(group, channels, statistics, found, shared)
    return factors


def _above_lows(
    group: ChannelGroup,
    channels: Channels,
    statistics: Mapping[str, TensorStatistics],
    lows: Mapping[str, Vector],
    m: Vector,
) -> Vector:
    """Return `max(A / p_i, 1)`, the least over the producers; infinite where nothing falls."""
    found = np.full(group.size, np.inf)
    for slot in (slot for slot in group.producers if slot.layer.name in lows):
        p = by_class(group, slot.classes, lows[slot.layer.name])
        for a in activation_ranges(group, [str(slot.layer.output.name)], channels, statistics):
            widest = float((a * m).max())
            found = np.minimum(found, np.maximum(widest / np.maximum(p, TINY), 1.0))
    return found


def cross_layer(
    channels: Channels,
    groups: Sequence[ChannelGroup],
    statistics: Mapping[str, TensorStatistics],
    *,
    shared: bool,
) -> Vector:
    """Return factors by cross-layer equalization (Nagel et al. 2019), swept until they settle.

    Args:
        channels: from `find_channels`.
        groups: of `channels`.
        statistics: extremes per channel of the tensors that carry the channels.
        shared: keep to factors with which one upper bound does for a whole clipped tensor.

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
            step = np.minimum(step, _room(group, channels, statistics, layers, factors, step))
            found = np.clip(factors[group.classes] * step, 1.0 / FARTHEST, FARTHEST)
            found = _settled(group, channels, statistics, found, shared)
            step = found / factors[group.classes]
            factors[group.classes] = found
            moved = max(moved, float(np.abs(np.log(step)).max()))
        if moved < SETTLED:
            break
    return factors


def _settled(
    group: ChannelGroup,
    channels: Channels,
    statistics: Mapping[str, TensorStatistics],
    found: Vector,
    shared: bool,
) -> Vector:
    """Return a group's factors as the clips on their way allow them."""
    if not shared:
        return found
    for operand in group.operands:
        if operand.is_clip:
            bounds = upper_bounds(group, operand)
            name = str(operand.node.outputs[0].name)
            reach = activation_ranges(group, [name], channels, statistics)
            if len(reach):
                found = sharing_bounds(found, reach[0], bounds)
    return found


def _room(
    group: ChannelGroup,
    channels: Channels,
    statistics: Mapping[str, TensorStatistics],
    layers: Mapping[str, Kernel],
    factors: Vector,
    step: Vector,
) -> Vector:
    """Return how far channels without weights, which hold their bias alone, may grow.

    No further than the widest of the others; those are free.
    """
    room = np.full(group.size, np.inf)
    empty = (producer_ranges(group, layers, factors) <= 0.0).all(axis=0)
    for a in activation_ranges(group, statistics, channels, statistics):
        reach = a * factors[group.classes]
        widest = (reach * step)[~empty].max(initial=0.0)
        filled = empty & (reach > 0.0)
        room[filled] = np.minimum(room[filled], widest / reach[filled])
    allowed: Vector = np.maximum(room, TINY)
    return allowed
