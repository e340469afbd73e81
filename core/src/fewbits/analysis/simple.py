"""Noise at each place with everything quantized, in the target's own numerics."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from fewbits.analysis.passes import Pass
from fewbits.analysis.places import Place
from fewbits.analysis.result import Row
from fewbits.analysis.rows import Rows
from fewbits.analysis.watched import Watched, grid_snr, per_sample
from fewbits.data import Batch, Dataset
from fewbits.graph import values_by_name
from fewbits.interfaces import Target
from fewbits.model import Model
from fewbits.noise import Pair, float_origin, pairs, shown, tracked
from fewbits.powers import Powers, powers, sums


def simple(
    model: Model,
    found: Sequence[Place],
    dataset: Dataset,
    target: Target,
    how: Pass,
) -> tuple[list[Row], dict[str, float]]:
    """Return a row for each place, and each output's SNR in dB.

    The tensors are made outputs of the quantized model, and the target's emulator runs it: each
    image goes once through the emulator and once through the float model.

    Args:
        model: at stage `quantized`.
        found: its places.
        dataset: samples.
        target: gives the emulator.
        how: batch size, threads and progress, which is told after each batch.
    """
    names = [place.tensor for place in found if place.node is not None]
    others = [name for name in _real_outputs(model) if name not in names]
    emulator = target.emulator(shown(model, names), how.threads)
    watched = {place.tensor: Watched(per_sample(len(dataset))) for place in found}
    outputs = dict.fromkeys(others, Powers())
    batches = tracked(dataset, how.batch_size, how.progress)
    reference = float_origin(model)
    with ThreadPoolExecutor(how.threads or os.cpu_count()) as pool:
        for pair in pairs(reference, emulator, [*names, *others], batches, how.threads):
            list(pool.map(partial(_add, pair, watched), found))  # numpy leaves the lock alone
            for name in others:
                outputs[name] += powers(pair[1][name], pair[2][name])
    snr = {place.tensor: _snr(model, place, watched[place.tensor]) for place in found}
    rows = Rows(model, list(found))
    made = [rows.row(place, watched[place.tensor], snr=snr) for place in found]
    ends = {name: snr.get(name) for name in _real_outputs(model)}
    return made, {n: outputs[n].snr_db if v is None else v for n, v in ends.items()}


def _add(pair: Pair, watched: Mapping[str, Watched], place: Place) -> None:
    batch, truth, seen = pair
    x = _input(batch, place) if place.node is None else truth[place.tensor]
    y = x if place.node is None else seen[place.tensor]
    watched[place.tensor].add(x, sums(x, y, place.axis))


def _input(batch: Batch, place: Place) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.asarray(batch.inputs[place.tensor], np.float32)


def _snr(model: Model, place: Place, seen: Watched) -> float:
    """Return a place's SNR; an input's is that of its grid."""
    if place.node is not None:
        return seen.powers.snr_db
    return grid_snr(seen.sample, model.encodings[place.tensor])


def _real_outputs(model: Model) -> list[str]:
    values = values_by_name(model.graph)
    kinds = {name: values[name].dtype for name in model.output_names}
    return [name for name, dtype in kinds.items() if dtype is None or dtype.is_floating_point()]
