"""Noise at the outputs with one place quantized at a time, everything else in float."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fewbits.analysis.passes import Pass
from fewbits.analysis.places import Place
from fewbits.analysis.result import Alone, Row
from fewbits.analysis.rows import Rows
from fewbits.analysis.watched import Watched, per_sample
from fewbits.data import Dataset
from fewbits.model import Model
from fewbits.ongrid import float_twin, put_on_grid
from fewbits.powers import Powers, powers, sums
from fewbits.relay import Arrays, Relay
from fewbits.runtime import Session

_TINY = float(np.finfo(np.float32).tiny)


@dataclass
class _Measured:
    """Totals of one place alone: its output, that with its weights quantized only, the ends."""

    seen: Watched
    weights: Powers
    ends: dict[str, Powers]

    @property
    def ratio(self) -> float:
        """Noise at the outputs as a share of the signal, the mean over outputs."""
        ratios = [p.noise / max(p.signal, _TINY) for p in self.ends.values()]
        return float(np.mean(ratios)) if ratios else 0.0


def advanced(
    model: Model,
    found: Sequence[Place],
    wanted: Sequence[Place],
    dataset: Dataset,
    how: Pass,
) -> list[Row]:
    """Return a row for each wanted place.

    The place's weight and bias and what it writes lie on their grids; the network runs in float
    from that layer on, and what lies before it is kept between places (`relay`).

    Args:
        model: at stage `quantized`.
        found: all its places.
        wanted: those that are tried, in graph order.
        dataset: samples; all go through for each place.
        how: batch size, threads and progress, which is told after each place.
    """
    network = float_twin(model)
    session = Session(network, threads=how.threads)
    size = session.inputs[0].shape[0] or how.batch_size
    reference = [session.run(batch.inputs) for batch in dataset.batches(size)]
    relay = Relay(network, dataset, reference, size, threads=how.threads)
    first = str(next(iter(model.graph)).name)
    measured = []
    how.progress("alone", 0, len(wanted), "layers")
    for place in wanted:
        trial = _Trial(model, place, first, relay)
        measured.append(_measure(trial, reference, per_sample(len(dataset))))
        how.progress("alone", len(measured), len(wanted), "layers")
    total = sum(each.ratio for each in measured)
    rows = Rows(model, list(found))
    return [
        rows.row(place, each.seen, alone=_alone(place, each, total))
        for place, each in zip(wanted, measured, strict=True)
    ]


@dataclass(frozen=True)
class _Trial:
    """One place quantized alone."""

    model: Model
    place: Place
    first: str
    relay: Relay

    @property
    def node(self) -> str:
        """The first node that it touches."""
        return self.first if self.place.node is None else str(self.place.node.name)

    @property
    def ends(self) -> tuple[str, str]:
        """Names of what it writes before and behind its grid."""
        name = self.place.tensor
        if name not in self.model.encodings:
            return name, name
        if name in self.model.output_names:
            return f"{name}.float", name
        return name, f"{name}.dequantized"

    def run(self) -> Iterator[tuple[NDArray[np.float32], Arrays]]:
        """Yield its output in float, and what the network gives with it quantized."""
        names = [*self.place.constants, self.place.tensor]
        change = partial(put_on_grid, quantized=self.model, names=names)
        before, behind = self.ends
        also = [behind] if self.place.node is None else [before, behind]
        truth = self.relay.values(self.node, self.place.tensor)
        yield from zip(truth, self.relay.stream(self.node, change, also), strict=True)


def _measure(trial: _Trial, reference: Sequence[Arrays], each: int) -> _Measured:
    real = [name for name, array in reference[0].items() if array.dtype.kind == "f"]
    found = _Measured(Watched(each), Powers(), dict.fromkeys(real, Powers()))
    before, behind = trial.ends
    for (x, seen), outputs in zip(trial.run(), reference, strict=True):
        found.seen.add(x, sums(x, seen[behind], trial.place.axis))
        if trial.place.layer is not None:
            found.weights += powers(x, seen[before])
        for name in real:
            found.ends[name] += powers(outputs[name], seen[name])
    return found


def _alone(place: Place, found: _Measured, total: float) -> Alone:
    return Alone(
        output_snr_db=Powers(1.0, found.ratio).snr_db,
        share=found.ratio / total if total else 0.0,
        own_snr_db=found.seen.powers.snr_db,
        weights_snr_db=None if place.layer is None else found.weights.snr_db,
    )
