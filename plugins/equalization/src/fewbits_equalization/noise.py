"""Which parts the rounding noise of a group of channels has, from weights and statistics."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from fewbits.calibration import TensorStatistics
from fewbits.channels import ChannelGroup, Channels, Slot
from fewbits.model import Precision

from fewbits_equalization.expected import Part
from fewbits_equalization.factors import TINY, Vector
from fewbits_equalization.ranges import (
    Kernel,
    activation_ranges,
    by_class,
    consumer_ranges,
    consumer_rows,
    kernels,
    producer_ranges,
)

CREST = 2.5  # largest value over root mean square, about
COARSE = 2.0
SIGNED = 4.0  # a range from −r to r has twice the step of one from 0 to r


@dataclass(frozen=True)
class Grids:
    """How weights and activations will be rounded.

    Args:
        per_channel: weights have a scale for each output channel, not one in all.
        coarseness: power of a weight's rounding noise over that of an activation with the same
            range; 1 where both have as many bits.
    """

    per_channel: bool = False
    coarseness: float = 1.0

    @property
    def gain_to_expect(self) -> bool:
        """Whether factors are worth choosing at all.

        Where weights have scales of their own and are as fine as activations, the estimate was
        wrong too often in trials: what it gained on one network it lost on two others.
        """
        return not self.per_channel or self.coarseness > COARSE

    @classmethod
    def of(cls, precision: Precision, *, per_channel: bool) -> "Grids":
        """Return the grids of a precision mode.

        >>> round(Grids.of(Precision.parse("a8_w4"), per_channel=False).coarseness)
        332
        """
        weight = (1 << precision.weight_bits) - 2  # steps from end to end; narrow range
        activation = (1 << precision.activation_bits) - 1
        return cls(per_channel, (activation / weight) ** 2)


@dataclass(frozen=True)
class Noise:
    """What is known of the noise that each layer's and each channel's rounding makes.

    Args:
        grids: how weights and activations will be rounded.
        layers: the kernel of each layer, by name.
        powers: estimated power of each class, factors being 1, `(count,)`.
        gains: by what noise in each channel that a layer writes counts, by the layer's name.
        classes: the same for each class, `(count,)`.
    """

    grids: Grids
    layers: Mapping[str, Kernel]
    powers: Vector
    gains: Mapping[str, Vector]
    classes: Vector

    @classmethod
    def over(
        cls, channels: Channels, statistics: Mapping[str, TensorStatistics], grids: Grids
    ) -> "Noise":
        """Estimate it as if noise were white and every layer linear."""
        layers, powers = kernels(channels), _powers(channels, statistics)
        gains, classes = _gains(layers, powers)
        return cls(grids, layers, powers, gains, classes)

    def of_tensors(
        self,
        group: ChannelGroup,
        channels: Channels,
        statistics: Mapping[str, TensorStatistics],
    ) -> list[Part]:
        """Return the parts of the tensors that carry a group, factors being 1."""
        gain = self.classes[group.classes]
        signal = max(float(gain @ self.powers[group.classes]), TINY)
        parts = []
        for name, found in statistics.items():
            step = SIGNED if found.low < 0.0 else 1.0
            for row in activation_ranges(group, [name], channels, statistics):
                parts.append(Part(row, step * gain / signal * (row > 0.0), 1))
        return parts

    def of_weights(self, group: ChannelGroup, factors: Vector) -> list[Part]:
        """Return the parts of the layers that write and read a group, given all factors.

        A layer whose outputs have scales of their own makes the same noise whatever its outputs'
        factors are: `(r f)² / f²`. Only its inputs' matter, and those of a depthwise layer do not.
        """
        if self.grids.per_channel:
            return list(self._of_rows(group, factors))
        return [*self._of_producers(group, factors), *self._of_consumers(group, factors)]

    def _of_producers(self, group: ChannelGroup, factors: Vector) -> Iterator[Part]:
        reach = producer_ranges(group, self.layers, factors)
        for row, slot in zip(reach, group.producers, strict=True):
            kernel = self.layers[slot.layer.name]
            powers = (self.powers * factors**2)[kernel.read].reshape(len(kernel.energies), -1)
            read = np.repeat(powers.sum(axis=1), len(kernel.written) // len(powers)) * kernel.taps
            noise = self._gain(slot, factors) * read
            yield Part(row, by_class(group, slot.classes, noise) * (row > 0.0), 1)

    def _of_consumers(self, group: ChannelGroup, factors: Vector) -> Iterator[Part]:
        reach = consumer_ranges(group, self.layers, factors)
        for row, slot in zip(reach, group.consumers, strict=True):
            kernel = self.layers[slot.layer.name]
            gain = self._gain(slot, factors).reshape(len(kernel.energies), -1).sum(axis=1)
            gain = np.repeat(gain, len(kernel.read) // len(gain)) * kernel.taps
            noise = gain * (self.powers * factors**2)[kernel.read]
            yield Part(row, by_class(group, slot.classes, noise), -1)

    def _of_rows(self, group: ChannelGroup, factors: Vector) -> Iterator[Part]:
        powers = self.powers * factors**2
        for slot in group.consumers:
            kernel = self.layers[slot.layer.name]
            if kernel.magnitudes.shape[2] == 1:
                continue
            gains = self._gain(slot, factors).reshape(len(kernel.magnitudes), -1)
            read = slot.classes.reshape(len(gains), -1)
            for number, rows in consumer_rows(group, slot, kernel, factors):
                noise = by_class(group, read[number], kernel.taps * powers[read[number]])
                yield Part(rows, noise, -1, gains[number])

    def _gain(self, slot: Slot, factors: Vector) -> Vector:
        """Return what noise in each output of a layer counts, as it is rescaled, `(out,)`."""
        kernel = self.layers[slot.layer.name]
        counted = SIGNED * self.grids.coarseness * self.gains[slot.layer.name]
        gain: Vector = counted / factors[kernel.written] ** 2
        return gain


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
