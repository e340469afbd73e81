"""Streaming statistics of activations, computed inside the graph and merged batch by batch.

Whole activations never leave the runtime: extremes come from pooling ops, which ONNX Runtime
keeps in its blocked layout, and histograms from an evenly spaced sample of each tensor.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbits.data import Batch
from fewbits.errors import DataError, ModelError
from fewbits.graph import constant, values_by_name
from fewbits.histogram import Histogram
from fewbits.interfaces import Context
from fewbits.model import Model
from fewbits.runtime import Session
from fewbits.taps import Tap, Wanted, attach, never_negative, upper_bound

#: building a session costs about as much as watching what is settled for this many batches.
BATCHES_WORTH_A_SESSION = 32


@dataclass(frozen=True)
class TensorStatistics:
    """What is known of one tensor's values over the calibration samples.

    Args:
        low: smallest value, at most 0.
        high: largest value, at least 0.
        count: how many calibration samples were seen.
        histogram: of an evenly spaced sample of the values, or None.
        mean: mean of each channel (axis 1), float64, `(channels,)`, or None.
        channel_low: smallest value of each channel (axis 1), `(channels,)`, or None; see
            `magnitudes` of `collect`.
        channel_high: largest value of each channel (axis 1), `(channels,)`, or None.
    """

    low: float
    high: float
    count: int
    histogram: Histogram | None = None
    mean: NDArray[np.float64] | None = None
    channel_low: NDArray[np.float32] | None = None
    channel_high: NDArray[np.float32] | None = None

    def merge(self, other: "TensorStatistics") -> "TensorStatistics":
        """Return the statistics of both sets of samples."""
        histogram = self.histogram
        if histogram is not None and other.histogram is not None:
            histogram = histogram.merge(other.histogram)
        count = self.count + other.count
        mean = self.mean
        if mean is not None and other.mean is not None:
            mean = (mean * self.count + other.mean * other.count) / count
        lows, highs = self.channel_low, self.channel_high
        if lows is not None and other.channel_low is not None:
            lows = np.minimum(lows, other.channel_low)
        if highs is not None and other.channel_high is not None:
            highs = np.maximum(highs, other.channel_high)
        low, high = min(self.low, other.low), max(self.high, other.high)
        return TensorStatistics(low, high, count, histogram, mean, lows, highs)


def collect(
    model: Model,
    names: Iterable[str],
    context: Context,
    *,
    histograms: bool = False,
    means: Collection[str] = (),
    channels: Collection[str] = (),
    magnitudes: Collection[str] = (),
) -> dict[str, TensorStatistics]:
    """Run the calibration data through a model once and return statistics by tensor name.

    Args:
        model: the network; it is not changed.
        names: tensors to watch: graph inputs, initializers, node outputs.
        context: gives the data, the batch size, threads and progress.
        histograms: whether to sample values too; about a fifth more time.
        means: those of `names` whose mean per channel is wanted; their channels lie on axis 1.
        channels: those of `names` whose extremes per channel are wanted; likewise.
        magnitudes: the same, but 0 does for the smallest where nothing below zero gets through.

    Raises:
        DataError: there is no calibration data.
        ModelError: a tensor does not exist, or takes a value that is not finite.
    """
    dataset = context.need_calibration("Calibration")
    found, computed = _constants(model, names, histograms)
    if not computed:
        return found
    if not len(dataset):
        raise DataError("The calibration data is empty.", hint="Give at least one sample.")
    lows = frozenset(channels)
    wanted = Wanted(computed, histograms, frozenset(means), lows.union(magnitudes), lows)
    watch = _Watch.over(model, wanted, context.threads)
    batches = context.track(
        dataset.batches(context.batch_size), "calibrate", len(dataset), "images"
    )
    for index, batch in enumerate(batches):
        for name, part in watch.run(batch):
            found[name] = found[name].merge(part) if name in found else part
        if index == 0 and len(dataset) > BATCHES_WORTH_A_SESSION * len(batch):
            wanted = replace(wanted, settled=_settled(model, wanted, found))
            del watch  # before the next session takes memory
            watch = _Watch.over(model, wanted, context.threads)
    return found | {n: replace(found[n], count=len(dataset)) for n in wanted.settled}


@dataclass(frozen=True)
class _Watch:
    """A session whose outputs watch tensors of a model."""

    model: Model
    wanted: Wanted
    session: Session
    taps: Mapping[str, Tap]

    @classmethod
    def over(cls, model: Model, wanted: Wanted, threads: int | None) -> "_Watch":
        """Build the session, on a copy of the network; its own outputs show what is not finite."""
        network = model.network.clone()
        values = values_by_name(network.graph)
        taps = {n: attach(network.graph, values[n], wanted) for n in wanted.names}
        watched = [name for tap in taps.values() for name in tap.outputs]
        outputs = list(dict.fromkeys([*watched, *model.output_names]))
        return cls(model, wanted, Session(network, threads=threads, outputs=outputs), taps)

    def run(self, batch: Batch) -> Iterator[tuple[str, TensorStatistics]]:
        """Yield the statistics of one batch, by tensor name.

        Raises:
            ModelError: a value is not finite; names the tensor where that begins.
        """
        seen = self.session.run(batch.inputs)
        if not all(np.isfinite(array).all() for array in seen.values()):
            raise _not_finite(self.model, self.wanted.names, batch.inputs)
        for name, tap in self.taps.items():
            if tap.outputs:
                yield name, _of_batch(name, tap, seen, len(batch), self.wanted)


def _settled(model: Model, wanted: Wanted, found: Mapping[str, TensorStatistics]) -> frozenset[str]:
    """Return the tensors whose extremes cannot go further: from 0 to their upper bound."""
    values = values_by_name(model.graph)
    return frozenset(
        name
        for name in wanted.names
        if name not in wanted.channels
        and never_negative(values[name])
        and found[name].high >= upper_bound(values[name])
    )


def _constants(
    model: Model, names: Iterable[str], histograms: bool
) -> tuple[dict[str, TensorStatistics], tuple[str, ...]]:
    """Return the statistics of the constants among `names`, and the names of the others."""
    values = values_by_name(model.graph)
    found: dict[str, TensorStatistics] = {}
    computed: list[str] = []
    for name in dict.fromkeys(names):
        if name not in values:
            raise ModelError(f"The network has no tensor '{name}'.", hint="See `fewbits info`.")
        array = constant(values[name])
        if array is None:
            computed.append(name)
        else:
            found[name] = statistics_of(array, array, array if histograms else None, 0)
    return found, tuple(computed)


def _of_batch(
    name: str, tap: Tap, seen: Mapping[str, NDArray[Any]], count: int, wanted: Wanted
) -> TensorStatistics:
    nothing = np.zeros(1, np.float32)
    low = seen[tap.low] if tap.low else nothing
    high = seen[tap.high] if tap.high else nothing
    found = statistics_of(low, high, seen[tap.sample] if tap.sample else None, count)
    if tap.mean is not None and name in wanted.means:
        found = replace(found, mean=_channels(seen[tap.mean]).mean(axis=0, dtype=np.float64))
    if name in wanted.channels:
        highs = _channels(high).max(axis=0)
        lows = _channels(low).min(axis=0) if tap.low else np.zeros_like(highs)
        found = replace(found, channel_low=lows, channel_high=highs)
    return found


def _channels(per_sample: NDArray[Any]) -> NDArray[Any]:
    """Return `(samples, channels)`; a network may fold other axes into axis 0."""
    return per_sample.reshape(len(per_sample), -1)


def _not_finite(
    model: Model, names: Iterable[str], inputs: Mapping[str, NDArray[Any]]
) -> ModelError:
    """Return the error that names the first of these tensors with a value that is not finite.

    The pools that find the extremes may pass over NaN; means, samples and the network's outputs
    tell that it is there, and this finds where it begins, one sample at a time.
    """
    network = model.network.clone()
    values = values_by_name(network.graph)
    computed = [name for name in names if name not in inputs]
    known = {v.name for v in network.graph.outputs}
    network.graph.outputs.extend(values[name] for name in computed if name not in known)
    session = Session(network, outputs=[*computed, *model.output_names])
    where = "The network"
    for index in range(len(next(iter(inputs.values())))):
        sample = {name: array[index : index + 1] for name, array in inputs.items()}
        seen = {**sample, **session.run(sample)}
        bad = [name for name in seen if not np.isfinite(seen[name]).all()]
        if bad:
            where = f"Tensor '{bad[0]}'"
            break
    return ModelError(
        f"{where} takes values that are not finite on the calibration data.",
        hint="Check the preprocessing (mean, std, channel order) and the network in float.",
    )


def statistics_of(
    low: NDArray[Any], high: NDArray[Any], sample: NDArray[Any] | None, count: int
) -> TensorStatistics:
    """Return the statistics of arrays that hold the extremes, and of a sample of the values."""
    return TensorStatistics(
        min(float(low.min()), 0.0),
        max(float(high.max()), 0.0),
        count,
        None if sample is None else Histogram.of(sample),
    )
