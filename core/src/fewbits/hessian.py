"""Second moments of layer inputs, streamed: what layer-wise least squares asks of the data.

With a layer's input as columns `x` (see `layermatrix`), `Σ x·xᵀ` says how any change of its weights
shows in its output; pruning (Hassibi et al. 1993), OBC and GPTQ (Frantar et al. 2022) need nothing
else of the data.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from fewbits.cost import elements
from fewbits.data import Batch
from fewbits.errors import DataError, ModelError, nearest
from fewbits.graph import Layer, constant, layers, values_by_name
from fewbits.interfaces import Context
from fewbits.layermatrix import columns, positions, weight_matrix, weight_shape
from fewbits.model import Model
from fewbits.runtime import Session

#: how much of them is held at a time.
MOMENT_BYTES = 512 << 20
_TAPPED_BYTES = 128 << 20
_BATCH = 16
_COLUMN_BYTES = 64 << 20


@dataclass(frozen=True)
class Moments:
    """Sums over all samples and positions of a layer's input columns `x`.

    Args:
        second: `Σ x·xᵀ`, float64, `(groups, columns, columns)`.
        first: `Σ x`, float64, `(groups, columns)`.
        count: number of samples times positions.
        samples: number of samples.
    """

    second: NDArray[np.float64]
    first: NDArray[np.float64]
    count: int
    samples: int

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of both sets of samples."""
        return Moments(
            self.second + other.second,
            self.first + other.first,
            self.count + other.count,
            self.samples + other.samples,
        )

    def add(self, other: "Moments") -> "Moments":
        """Return what `merge` does, reusing this one's arrays; it must not be used again."""
        np.add(self.second, other.second, out=self.second)
        np.add(self.first, other.first, out=self.first)
        return Moments(
            self.second, self.first, self.count + other.count, self.samples + other.samples
        )

    def ordered(self, order: NDArray[np.intp]) -> "Moments":
        """Return the moments with their columns in another order."""
        second = self.second[:, order][:, :, order]
        return Moments(second, self.first[:, order], self.count, self.samples)

    @property
    def mean(self) -> NDArray[np.float64]:
        """`E[x]`, `(groups, columns)`."""
        return self.first / max(self.count, 1)

    @property
    def shrinkage(self) -> NDArray[np.float64]:
        """How far the covariance of `x` should be drawn to a multiple of `I`, `(groups,)` in 0..1.

        Chen, Wiesel, Eldar and Hero 2010, oracle approximating shrinkage, equation 23. Positions
        of one sample are correlated, so they count by their square root.
        """
        number = np.sqrt(float(self.count) * max(self.samples, 1))
        covariance = self.hessian(centered=True)
        size = covariance.shape[-1]
        trace = np.trace(covariance, axis1=1, axis2=2)
        square = np.square(covariance).sum(axis=(1, 2))
        above = (1.0 - 2.0 / size) * square + trace**2
        below = (number + 1.0 - 2.0 / size) * (square - trace**2 / size)
        ratio = np.divide(above, below, out=np.ones_like(trace), where=below > 0.0)
        return np.asarray(np.clip(ratio, 0.0, 1.0))

    def hessian(self, *, centered: bool = False) -> NDArray[np.float64]:
        """Return `H = 2·Σ x·xᵀ`, the Hessian of `Σ ‖(W − Ŵ)·x‖²` in a row of `Ŵ`.

        Args:
            centered: take `x − E[x]` for `x`: the Hessian where the bias makes up for the mean,
                `b̂ = b + (W − Ŵ)·E[x]`.
        """
        found = self.second
        if centered:
            found = found - self.first[:, :, None] * self.mean[:, None, :]
        return 2.0 * found


def moments_of(layer: Layer, x: NDArray[Any]) -> Moments:
    """Return the moments of a layer's input, block by block of samples.

    Products are formed in the type of `x` within a block and added up in float64.

    Args:
        layer: a layer.
        x: its input, batch first.

    Raises:
        ModelError: the input takes values that are not finite.
    """
    group_columns = weight_matrix(layer, np.empty(weight_shape(layer), np.bool_))
    groups, _, size = group_columns.shape
    per_sample = groups * size * positions(layer, x) * x.itemsize
    step = max(_COLUMN_BYTES // max(per_sample, 1), 1)
    total = Moments(np.zeros((groups, size, size)), np.zeros((groups, size)), 0, 0)
    for start in range(0, len(x), step):
        part = columns(layer, x[start : start + step])
        sums = _finite(part.sum(axis=2, dtype=np.float64), layer.name)
        product = np.matmul(part, part.swapaxes(1, 2))
        total = total.add(Moments(product, sums, part.shape[2], min(step, len(x) - start)))
    return total


def passes(
    model: Model, names: Sequence[str], *, limit: int = MOMENT_BYTES
) -> list[tuple[str, ...]]:
    """Split layers into runs of the data, so that the moments of each run fit into `limit` bytes.

    Args:
        model: the network.
        names: layers, by name.
        limit: bytes; a layer that exceeds it alone has a run of its own.

    Raises:
        ModelError: there is no such layer.
    """
    runs: list[tuple[str, ...]] = []
    held = limit + 1
    for name, layer in named_layers(model, names).items():
        size = _moment_bytes(layer)
        if held + size > limit:
            runs.append(())
            held = 0
        runs[-1] = (*runs[-1], name)
        held += size
    return runs


def named_layers(model: Model, names: Iterable[str]) -> dict[str, Layer]:
    """Return name → layer, in the order of the names.

    Raises:
        ModelError: there is no such layer.
    """
    known = {layer.name: layer for layer in layers(model.graph)}
    for name in names:
        if name not in known:
            raise ModelError(f"{model.name} has no layer '{name}'.", hint=nearest(name, known))
    return {name: known[name] for name in names}


def _moment_bytes(layer: Layer) -> int:
    shape = weight_shape(layer)
    inputs = prod(shape) // layer.out_channels
    if layer.op_type == "ConvTranspose":
        inputs = prod(shape) // shape[1] // layer.groups
    return 8 * layer.groups * inputs * (inputs + 1)


def input_moments(model: Model, names: Sequence[str], context: Context) -> dict[str, Moments]:
    """Run the calibration data through a model once and return moments by layer name.

    The batch is made smaller where the layers' inputs together would take too much memory.

    Args:
        model: the network; it is not changed. Inputs are taken as this model computes them.
        names: layers, by name; `passes` says how many at once.
        context: gives the data, the batch size, threads and progress.

    Raises:
        DataError: there is no calibration data.
        ModelError: there is no such layer, or its input takes values that are not finite.
    """
    chosen = named_layers(model, names)
    found: dict[str, Moments] = {}
    source = _LayerInputs(model, chosen.values(), context.threads)
    for batch in _batches(chosen.values(), context):
        seen = source.run(batch)
        for name, layer in chosen.items():
            part = moments_of(layer, seen[str(layer.input.name)])
            found[name] = found[name].add(part) if name in found else part
    return found


class _LayerInputs:
    """A network cut down to what the inputs of some layers depend on.

    Args:
        model: the network; it is not changed.
        chosen: the layers.
        threads: threads of the runtime.
    """

    def __init__(self, model: Model, chosen: Iterable[Layer], threads: int | None) -> None:
        network = model.network.clone()
        values = values_by_name(network.graph)
        names = list(dict.fromkeys(str(layer.input.name) for layer in chosen))
        found = {name: constant(values[name]) for name in names}
        self._fixed = {name: array for name, array in found.items() if array is not None}
        computed = [n for n in names if n not in self._fixed and not values[n].is_graph_input()]
        network.graph.outputs[:] = [values[n] for n in computed]
        RemoveUnusedNodesPass()(network)
        self._session = Session(network, threads=threads, outputs=computed) if computed else None

    def run(self, batch: Batch) -> Mapping[str, NDArray[Any]]:
        """Return tensor name → value."""
        seen = self._session.run(batch.inputs) if self._session is not None else {}
        return {**self._fixed, **batch.inputs, **seen}


def _batches(chosen: Iterable[Layer], context: Context) -> Iterator[Batch]:
    """Yield the calibration data, a batch so small that the layers' inputs fit into memory.

    Raises:
        DataError: there is no calibration data.
    """
    dataset = context.need_calibration("Second moments")
    if not len(dataset):
        raise DataError("The calibration data is empty.", hint="Give at least one sample.")
    inputs = {str(layer.input.name): layer.input for layer in chosen}
    tapped = 4 * sum(elements(value) for value in inputs.values())
    size = min(_BATCH, max(_TAPPED_BYTES // max(tapped, 1), 1))
    yield from context.track(dataset.batches(size), "moments", len(dataset), "images")


def _finite(sums: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    if not np.isfinite(sums).all():
        raise ModelError(
            f"The input of layer '{name}' takes values that are not finite.",
            hint="Check the preprocessing (mean, std, channel order) and the network in float.",
        )
    return sums
