"""Which channels never change on the calibration data, wherever a layer reads them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from fewbits.calibration import collect
from fewbits.channels import Channels
from fewbits.interfaces import Context
from fewbits.model import Model
from numpy.typing import NDArray


@dataclass(frozen=True)
class Still:
    """Channels that do not change.

    Args:
        classes: those that are constant for every layer that reads them.
        values: layer name → the middle of each of its input channels, `(in,)`.
    """

    classes: frozenset[int]
    values: Mapping[str, NDArray[np.float64]]

    def zero(self, channels: Channels) -> set[int]:
        """Return those of the classes that are zero wherever they are read."""
        moved = {
            int(c)
            for slot in channels.readers
            if slot.layer.name in self.values
            for c in slot.classes[self.values[slot.layer.name] != 0.0]
        }
        return set(self.classes) - moved


def constant_channels(
    model: Model, channels: Channels, context: Context, tolerance: float
) -> Still:
    """Return what does not change on the calibration data.

    Args:
        model: the network.
        channels: what is tied to what in its graph.
        context: gives the data.
        tolerance: how far a channel may move, as a share of its tensor's range.
    """
    readers = [slot for slot in channels.readers if slot.classes.any()]
    names = list(dict.fromkeys(str(slot.layer.input.name) for slot in readers))
    statistics = collect(model, names, context, channels=names) if names else {}
    values: dict[str, NDArray[np.float64]] = {}
    seen_classes, moving = set[int](), {0}
    for slot in readers:
        seen = statistics[str(slot.layer.input.name)]
        low, high = np.asarray(seen.channel_low), np.asarray(seen.channel_high)
        seen_classes |= set(slot.classes.tolist())
        if low.shape != slot.classes.shape:
            moving |= set(slot.classes.tolist())
            continue
        still = high - low <= tolerance * (seen.high - seen.low)
        moving |= set(slot.classes[~still].tolist())
        values[slot.layer.name] = (low.astype(np.float64) + high) / 2
    return Still(frozenset(seen_classes - moving), values)
