"""From what was added up of a place to its row."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fewbits.analysis.places import Place
from fewbits.analysis.result import Alone, Channels, Range, Row, Weight
from fewbits.analysis.watched import Watched, bits_used, clipped, grid_snr, spread
from fewbits.graph import Layer, constant, layers
from fewbits.model import Encoding, Model, Stage
from fewbits.powers import powers


class Rows:
    """Makes rows of a quantized model.

    Args:
        model: at stage `quantized`.
        places: all that are measured.
    """

    def __init__(self, model: Model, places: list[Place]) -> None:
        self._model = model
        self._names = {place.tensor: place.name for place in places}
        origin = model.at(Stage.OPTIMIZED)
        self._origin = {layer.name: layer for layer in layers(origin.graph)}

    def row(
        self,
        place: Place,
        seen: Watched,
        *,
        snr: Mapping[str, float] | None = None,
        alone: Alone | None = None,
    ) -> Row:
        """Return a place's row.

        Args:
            place: the place.
            seen: what was added up of it.
            snr: tensor → SNR of every place with everything quantized; None where not measured.
            alone: what it costs alone; None where not measured.
        """
        encodings = self._model.encodings
        inputs = [snr[name] for name in place.reads] if snr is not None else []
        return Row(
            layer=place.name,
            op_type=place.op_type,
            tensor=place.tensor,
            precision=place.precision,
            traits=place.traits,
            snr_db=None if snr is None else snr[place.tensor],
            input_snr_db=min(inputs) if inputs else None,
            shift_share=None if place.node is None else seen.shift_share,
            range=range_of(seen, encodings.get(place.tensor)),
            channels=channels_of(seen),
            weight=None if place.layer is None else self._weight(place.layer),
            input_ranges={
                self._names[name]: float(encodings[name].high - encodings[name].low)
                for name in place.reads
                if name in encodings
            },
            feeds=place.feeds,
            alone=alone,
        )

    def _weight(self, layer: Layer) -> Weight | None:
        encoding = self._model.encodings.get(str(layer.weight.name))
        held, known = constant(layer.weight), self._origin.get(layer.name)
        truth = None if known is None else constant(known.weight)
        if encoding is None or held is None or truth is None:
            return None
        snr = powers(np.asarray(truth, np.float32), np.asarray(held, np.float32)).snr_db
        peaks = _peaks(np.asarray(truth), layer.weight_axis)
        return Weight(encoding.bits, encoding.axis is not None, snr, spread(peaks))


def range_of(seen: Watched, encoding: Encoding | None) -> Range | None:
    """Return how a tensor's float values fit a grid; None without one."""
    if encoding is None:
        return None
    sample, (low, high) = seen.sample, seen.seen
    return Range(
        low=float(encoding.low),
        high=float(encoding.high),
        seen_low=low,
        seen_high=high,
        clipped=clipped(sample, encoding),
        bits=encoding.bits,
        bits_used=bits_used(sample, encoding),
        step=float(encoding.scale),
        snr_db=grid_snr(sample, encoding),
    )


def channels_of(seen: Watched) -> Channels:
    """Return how a tensor's channels differ."""
    assert seen.low is not None
    assert seen.high is not None
    peaks = np.maximum(np.abs(seen.low), np.abs(seen.high))
    return Channels(len(peaks), int((seen.low == seen.high).sum()), spread(peaks))


def _peaks(weight: NDArray[np.generic], axis: int) -> NDArray[np.generic]:
    rows = np.moveaxis(np.abs(weight), axis, 0).reshape(weight.shape[axis], -1)
    return np.asarray(rows.max(axis=1))
