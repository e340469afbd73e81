"""Chooses the factors of all classes by the rounding noise to expect."""

from collections.abc import Mapping, Sequence

import numpy as np
from fewbits.calibration import TensorStatistics
from fewbits.channels import ChannelGroup, Channels

from fewbits_equalization.expected import Part, least_noise
from fewbits_equalization.factors import TINY, Vector
from fewbits_equalization.ranges import (
    Kernel,
    activation_ranges,
    by_class,
    consumer_ranges,
    kernels,
    producer_ranges,
    upper_bounds,
)

SWEEPS = 2
FARTHEST = 1e4
CREST = 2.5  # largest value over root mean square, about


def by_noise(
    channels: Channels,
    groups: Sequence[ChannelGroup],
    statistics: Mapping[str, TensorStatistics],
    *,
    shared: bool,
) -> Vector:
    """Return the factors for which the least rounding noise is to be expected.

    Weights and activations of 8 bits with one scale per tensor are assumed; what a
    channel's noise does further on is estimated as if it were white and every layer linear.

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
    powers = _powers(channels, statistics)
    gains, by_channel = _gains(layers, powers)
    free = [group for group in groups if group.size and group.consumers]
    tensors = [_of_tensors(group, channels, statistics, powers, by_channel) for group in free]
    limits = [_limits(group, channels, statistics, shared) for group in free]
    for _ in range(SWEEPS):
        for group, fixed, (low, high) in zip(free, tensors, limits, strict=True):
            now = factors[group.classes]
            parts = [
                *_of_producers(group, layers, factors, gains, powers),
                *(Part(part.reach * now, part.noise / now**2, 1) for part in fixed),
                *_of_consumers(group, layers, factors, gains, powers),
            ]
            step = least_noise(parts, np.ones(group.size), low / now, high / now)
            factors[group.classes] = now * step
    return factors


def _powers(channels: Channels, statistics: Mapping[str, TensorStatistics]) -> Vector:
    """Return the estimated power of each class, `(count,)`; 1 where nothing is known."""
    reach = np.zeros(channels.count)
    for name, found in statistics.items():
        assert found.channel_low is not None
        assert found.channel_high is not None
        extremes = np.maximum(-found.channel_low, found.channel_high)
        np.maximum.at(reach, channels.tensors[name].ravel(), extremes)
    powers: Vector = np.square(reach / CREST)
    powers[0] = 1.0
    return powers


def _gains(layers: Mapping[str, Kernel], powers: Vector) -> tuple[dict[str, Vector], Vector]:
    """Return by what noise in each channel that a layer writes counts, and in each class.

    A layer's noise counts by its share in the layer's signal, both as later layers weigh the
    channels: otherwise the estimate, too high by a little in each layer, lets the first ones
    outweigh all others.
    """
    classes = np.zeros(len(powers))
    gains: dict[str, Vector] = {}
    for name, kernel in reversed(list(layers.items())):
        gain = classes[kernel.written]
        signal = kernel.energies @ powers[kernel.read].reshape(len(kernel.energies), -1, 1)
        gain[kernel.written == 0] = 1.0 / max(float(signal.sum()), TINY)
        own = np.where(kernel.written > 0, powers[kernel.written], signal.ravel())
        gain = gain / max(float((gain * own).sum()), TINY)
        gains[name] = gain
        back = gain.reshape(len(kernel.energies), 1, -1) @ kernel.energies
        np.add.at(classes, kernel.read, back.ravel())
        classes[0] = 0.0
    return gains, classes


def _of_producers(
    group: ChannelGroup,
    layers: Mapping[str, Kernel],
    factors: Vector,
    gains: Mapping[str, Vector],
    powers: Vector,
) -> list[Part]:
    parts = []
    reach = producer_ranges(group, layers, factors)
    for row, slot in zip(reach, group.producers, strict=True):
        kernel = layers[slot.layer.name]
        read = (powers * factors**2)[kernel.read].reshape(len(kernel.energies), -1).sum(axis=1)
        read = np.repeat(read, len(kernel.written) // len(read)) * kernel.taps
        noise = 4.0 * gains[slot.layer.name] * read / factors[kernel.written] ** 2
        parts.append(Part(row, by_class(group, slot.classes, noise) * (row > 0.0), 1))
    return parts


def _of_tensors(
    group: ChannelGroup,
    channels: Channels,
    statistics: Mapping[str, TensorStatistics],
    powers: Vector,
    gains: Vector,
) -> list[Part]:
    """Return the parts of the tensors that carry a group, factors being 1."""
    gain, signal = gains[group.classes], (gains * powers)[group.classes].sum()
    parts = []
    for name, found in statistics.items():
        for row in activation_ranges(group, [name], channels, statistics):
            noise = (4.0 if found.low < 0.0 else 1.0) * gain / max(float(signal), TINY)
            parts.append(Part(row, noise * (row > 0.0), 1))
    return parts


def _of_consumers(
    group: ChannelGroup,
    layers: Mapping[str, Kernel],
    factors: Vector,
    gains: Mapping[str, Vector],
    powers: Vector,
) -> list[Part]:
    parts = []
    reach = consumer_ranges(group, layers, factors)
    for row, slot in zip(reach, group.consumers, strict=True):
        kernel = layers[slot.layer.name]
        gain = gains[slot.layer.name] / factors[kernel.written] ** 2
        gain = gain.reshape(len(kernel.energies), -1).sum(axis=1)
        gain = np.repeat(gain, len(kernel.read) // len(gain)) * kernel.taps
        noise = 4.0 * gain * (powers * factors**2)[kernel.read]
        parts.append(Part(row, by_class(group, slot.classes, noise), -1))
    return parts


def _limits(
    group: ChannelGroup,
    channels: Channels,
    statistics: Mapping[str, TensorStatistics],
    shared: bool,
) -> tuple[Vector, Vector]:
    """Return the smallest and the largest factor of each channel.

    Behind a clip at `B` they lie between 1 and `B / a`, and an encoding that ends at `B` implies
    every bound `B f`.
    """
    low, high = np.full(group.size, 1.0 / FARTHEST), np.full(group.size, FARTHEST)
    for operand in group.operands if shared else ():
        if not operand.is_clip:
            continue
        bounds = upper_bounds(group, operand)
        clipped = np.isfinite(bounds)
        reach = activation_ranges(group, [str(operand.node.outputs[0].name)], channels, statistics)
        most = bounds / np.maximum(reach[0], bounds / FARTHEST) if len(reach) else np.ones_like(low)
        low[clipped] = 1.0
        high[clipped] = np.minimum(high, np.maximum(most, 1.0))[clipped]
    return low, high
