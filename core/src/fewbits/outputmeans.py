"""Means of layers' outputs, per channel: what a bias can put right."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbits.errors import ModelError
from fewbits.graph import Layer, values_by_name
from fewbits.hessian import named_layers
from fewbits.interfaces import Context
from fewbits.layermatrix import columns, weight_matrix
from fewbits.model import Model
from fewbits.runtime import Session
from fewbits.stored import Activations
from fewbits.taps import Wanted, attach

_BATCH = 4


def float_output_means(
    model: Model, names: Sequence[str], context: Context, *, activated: bool = False
) -> dict[str, NDArray[np.float64]]:
    """Run the calibration data through a float model once and return `E[z]` of each layer.

    `z = W·x + b` is what the layer computes in front of its activation; the mean is taken over
    samples and positions, in the runtime.

    Args:
        model: the network; it is not changed.
        names: layers other than MatMul, by name.
        context: gives the data, threads and progress.
        activated: take what the layer writes behind its activation instead, `E[f(z)]`.

    Returns:
        Layer name → float64, `(out,)`.

    Raises:
        DataError: there is no calibration data.
        ModelError: there is no such layer, or its output takes values that are not finite.
    """
    return float_output_means_twice(model, names, 0, context, activated=activated)[1]


def float_output_means_twice(
    model: Model, names: Sequence[str], head: int, context: Context, *, activated: bool = False
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """Return what `float_output_means` does, of the first samples alone and of all.

    Args:
        model: the network; it is not changed.
        names: layers other than MatMul, by name.
        head: how many samples are the first ones; with 0 their means are zeros.
        context: gives the data, threads and progress.
        activated: behind the activations.

    Raises:
        DataError: there is no calibration data.
        ModelError: there is no such layer, or its output takes values that are not finite.
    """
    dataset = context.need_calibration("Means of outputs")
    network = model.network.clone()
    values = values_by_name(network.graph)
    chosen = named_layers(model, names)
    outputs = {
        name: str((layer.output if activated else layer.node.outputs[0]).name)
        for name, layer in chosen.items()
    }
    watched = tuple(outputs.values())
    wanted = Wanted(watched, means=frozenset(watched), settled=frozenset(watched))
    taps = {name: attach(network.graph, values[out], wanted).mean for name, out in outputs.items()}
    session = Session(network, threads=context.threads, outputs=[str(tap) for tap in taps.values()])
    first, whole = (
        {name: _Sum(layer.out_channels) for name, layer in chosen.items()} for _ in range(2)
    )
    done = 0
    for batch in context.track(dataset.batches(_BATCH), "means", len(dataset), "images"):
        seen = session.run(batch.inputs)
        for name, tap in taps.items():
            rows = seen[str(tap)]
            whole[name].add(rows)
            if done < head:
                first[name].add(rows[: len(rows) * min(head - done, len(batch)) // len(batch)])
        done += len(batch)
    return (
        {name: each.mean for name, each in first.items()},
        {name: _finite(each.mean, name) for name, each in whole.items()},
    )


class _Sum:
    """A sum of rows, `(channels,)`."""

    def __init__(self, channels: int) -> None:
        self._sum = np.zeros(channels)
        self._count = 0

    def add(self, rows: NDArray[np.floating]) -> None:
        flat = rows.reshape(-1, len(self._sum))
        self._sum += flat.sum(axis=0, dtype=np.float64)
        self._count += len(flat)

    @property
    def mean(self) -> NDArray[np.float64]:
        return self._sum / max(self._count, 1)


def column_means(layer: Layer, source: Activations) -> NDArray[np.float64]:
    """Return `E[x]` over samples and positions of a layer's input columns, padding included.

    The sum over the samples is taken first, of the stored integers and so exactly; each column is
    then a window on it.

    Args:
        layer: the layer.
        source: its input.

    Returns:
        float64, `(groups, columns)`, as in `layermatrix.columns`.
    """
    total: NDArray[np.float64] = np.zeros(())
    count = 0
    for stored in source.batches():
        total = total + _sum_of_samples(stored)
        count += len(stored)
    mean = total / count
    if source.encoding is not None:
        scale, zero_point = float(source.encoding.scale), int(source.encoding.zero_point)
        mean = (mean - zero_point) * scale
    found: NDArray[np.float64] = columns(layer, mean[None]).mean(axis=2)
    return found


def output_means(
    layer: Layer, weight: NDArray[np.floating], means: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return `W·E[x]`, the mean of each output channel before the bias, `(out,)`.

    Args:
        layer: the layer.
        weight: in the layer's own layout.
        means: `column_means` of its input.
    """
    matrix = weight_matrix(layer, weight.astype(np.float64))
    found: NDArray[np.float64] = np.einsum("grc,gc->gr", matrix, means)
    return found.ravel()


def _sum_of_samples(stored: NDArray[Any]) -> NDArray[Any]:
    """Return the sum over axis 0; integers are added exactly, in twice their width at a time."""
    if stored.dtype.kind == "f":
        return np.asarray(stored.sum(axis=0, dtype=np.float64))
    wide = np.dtype(f"{stored.dtype.kind}{2 * stored.dtype.itemsize}")
    total = np.zeros(stored.shape[1:], np.int64)
    for start in range(0, len(stored), 256):
        part = stored[start].astype(wide)
        for each in stored[start + 1 : start + 256]:
            np.add(part, each, out=part)
        total += part
    return total


def _finite(mean: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    if not np.isfinite(mean).all():
        raise ModelError(
            f"The output of layer '{name}' takes values that are not finite.",
            hint="Check the preprocessing (mean, std, channel order) and the network in float.",
        )
    return mean
