"""How far the weights and activations of each class of channels reach, as factors change."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from fewbits.calibration import TensorStatistics
from fewbits.channels import ChannelGroup, Channels, Operand, Slot
from fewbits.graph import clip_bounds, constant
from fewbits.kernels import to_blocks
from fewbits.ties import Ids
from numpy.typing import NDArray

from fewbits_equalization.factors import Vector


@dataclass
class Kernel:
    """Largest weight of a layer between each pair of channels, and what scales it.

    Args:
        magnitudes: `(groups, out/groups, in/groups)`.
        written: class of each output channel, `(out,)`.
        read: class of each input channel, `(in,)`.
        energies: sum of the squared weights, shaped as `magnitudes`.
        taps: weights between two channels.
    """

    magnitudes: NDArray[np.float32]
    written: Ids
    read: Ids
    energies: NDArray[np.float32]
    taps: int

    def output_ranges(self, factors: Vector) -> Vector:
        """Return the largest scaled weight of each output channel, `(out,)`."""
        found: Vector = self.scaled(factors).max(axis=2).ravel().astype(np.float64)
        return found

    def input_ranges(self, factors: Vector) -> Vector:
        """Return the largest scaled weight of each input channel, `(in,)`."""
        found: Vector = self.scaled(factors).max(axis=1).ravel().astype(np.float64)
        return found

    def scaled(self, factors: Vector) -> NDArray[np.float32]:
        """Return the scaled magnitudes, `(groups, out/groups, in/groups)`."""
        groups = len(self.magnitudes)
        up = factors[self.written].astype(np.float32).reshape(groups, -1, 1)
        down = (1.0 / factors[self.read]).astype(np.float32).reshape(groups, 1, -1)
        scaled: NDArray[np.float32] = self.magnitudes * down
        scaled *= up
        return scaled


def kernels(channels: Channels) -> dict[str, Kernel]:
    """Return the kernel of each layer by its name."""
    read = {slot.layer.name: slot.classes for slot in channels.readers}
    return {slot.layer.name: _kernel(slot, read[slot.layer.name]) for slot in channels.writers}


def _kernel(slot: Slot, read: Ids) -> Kernel:
    weight = np.asarray(constant(slot.layer.weight), np.float32)
    axes = tuple(range(2, weight.ndim))
    magnitudes = to_blocks(slot.layer, np.abs(weight).max(axis=axes))
    energies = to_blocks(slot.layer, np.square(weight).sum(axis=axes))
    return Kernel(magnitudes, slot.classes, read, energies, weight[0, 0].size)


def by_class(group: ChannelGroup, classes: Ids, values: Vector) -> Vector:
    """Return the largest value in each class of a group, `(group.size,)`; 0 where there is none.

    Args:
        group: whose classes count.
        classes: class of each value.
        values: at least 0, of the same shape.
    """
    found = np.zeros(group.size)
    inside = np.isin(classes, group.classes)
    np.maximum.at(found, np.searchsorted(group.classes, classes[inside]), values[inside])
    return found


def producer_ranges(group: ChannelGroup, layers: Mapping[str, Kernel], factors: Vector) -> Vector:
    """Return the largest weight of each producer in each class, `(producers, size)`."""
    return np.stack(
        [
            by_class(group, slot.classes, layers[slot.layer.name].output_ranges(factors))
            for slot in group.producers
        ]
    )


def consumer_ranges(group: ChannelGroup, layers: Mapping[str, Kernel], factors: Vector) -> Vector:
    """Return the largest weight of each consumer in each class, `(consumers, size)`."""
    return np.stack(
        [
            by_class(group, slot.classes, layers[slot.layer.name].input_ranges(factors))
            for slot in group.consumers
        ]
    )


def consumer_rows(
    group: ChannelGroup, slot: Slot, kernel: Kernel, factors: Vector
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield the largest weights between each output channel of a consumer and each class.

    Args:
        group: whose classes count.
        slot: the consumer.
        kernel: its weights.
        factors: of all classes.

    Yields:
        For each channel group of the layer that reads the classes: its number, and its weights as
        `(out/groups, size)`.
    """
    classes = slot.classes.reshape(len(kernel.magnitudes), -1)
    scaled = kernel.scaled(factors)
    for number in np.flatnonzero(np.isin(classes, group.classes).any(axis=1)):
        found = np.zeros((group.size, scaled.shape[1]))
        inside = np.isin(classes[number], group.classes)
        places = np.searchsorted(group.classes, classes[number][inside])
        np.maximum.at(found, places, scaled[number].T[inside])
        yield int(number), found.T


def activation_ranges(
    group: ChannelGroup,
    watched: Iterable[str],
    channels: Channels,
    statistics: Mapping[str, TensorStatistics],
) -> Vector:
    """Return the largest magnitude of each tensor in each class, `(tensors, size)`."""
    rows = []
    for name in watched:
        if name not in statistics:
            continue
        classes = channels.tensors[name].ravel()
        if not np.isin(classes, group.classes).any():
            continue
        found = statistics[name]
        assert found.channel_low is not None
        assert found.channel_high is not None
        rows.append(by_class(group, classes, np.maximum(-found.channel_low, found.channel_high)))
    return np.stack(rows) if rows else np.zeros((0, group.size))


def upper_bounds(group: ChannelGroup, clip: Operand) -> Vector:
    """Return the upper bound that a Clip sets each class of a group; infinite where it is not."""
    found = clip_bounds(clip.node)
    bounds = np.full(group.size, np.inf)
    if found is not None:
        bounds[np.isin(group.classes, clip.classes)] = found[1]
    return bounds
