"""What a layer reads in a changed network against what it read before: layer-wise reconstruction.

A layer `y = W·x + b` whose input has become `x̂`, because layers before it were pruned or
quantized, is closest to what it wrote before with `Ŵ` that minimises `Σ ‖W·x + b − Ŵ·x̂ − b̂‖²`.
Three sums are enough for that: `Σ x̂·x̂ᵀ`, `Σ x·x̂ᵀ`, `Σ x·xᵀ`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewbits.graph import Layer
from fewbits.hessian import (
    LayerInputs,
    Moments,
    calibration_batches,
    columns,
    moments_of,
    named_layers,
)
from fewbits.interfaces import Context
from fewbits.model import Model

_SAMPLES = 4


@dataclass(frozen=True)
class Paired:
    """Sums over all samples and positions of a layer's input columns, before `x` and now `x̂`.

    Args:
        before: of `x`.
        now: of `x̂`.
        cross: `Σ x·x̂ᵀ`, float64, `(groups, columns, columns)`.
    """

    before: Moments
    now: Moments
    cross: NDArray[np.float64]

    @classmethod
    def same(cls, moments: Moments) -> "Paired":
        """Return the sums where nothing has changed yet."""
        return cls(moments, moments, moments.second)

    @property
    def changed(self) -> bool:
        """Whether the input may differ from what it was."""
        return self.now is not self.before

    def ordered(self, order: NDArray[np.intp]) -> "Paired":
        """Return the sums with their columns in another order."""
        if not self.changed:
            return Paired.same(self.now.ordered(order))
        cross = self.cross[:, order][:, :, order]
        return Paired(self.before.ordered(order), self.now.ordered(order), cross)

    def cross_hessian(self, *, centered: bool = False) -> NDArray[np.float64]:
        """Return `2·Σ x·x̂ᵀ`, of `x − E[x]` and `x̂ − E[x̂]` if `centered`.

        With `H = now.hessian(…)` the best dense weight is `Ŵ = W · cross_hessian · H⁻¹`.
        """
        found = self.cross
        if centered:
            found = found - self.before.first[:, :, None] * self.now.mean[:, None, :]
        return 2.0 * found

    def mean_shift(
        self, weight: NDArray[np.float64], new: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return `W·E[x] − Ŵ·E[x̂]`, what the bias must take up, `(groups · rows,)`.

        Args:
            weight: `W`, `(groups, rows, columns)`.
            new: `Ŵ`.
        """
        had = np.einsum("grc,gc->gr", weight, self.before.mean)
        has = np.einsum("grc,gc->gr", new, self.now.mean)
        shift: NDArray[np.float64] = (had - has).ravel()
        return shift

    def signal(self, weight: NDArray[np.float64], bias: NDArray[np.float64]) -> float:
        """Return `Σ ‖W·x + b‖²`.

        Args:
            weight: `W`, `(groups, rows, columns)`.
            bias: `b`, `(groups · rows,)`.
        """
        return _square(weight, self.before.second, weight) + _offset(
            bias.reshape(weight.shape[:2]),
            np.einsum("grc,gc->gr", weight, self.before.first),
            self.now.count,
        )

    def noise(
        self,
        weight: NDArray[np.float64],
        new: NDArray[np.float64],
        shift: NDArray[np.float64],
    ) -> float:
        """Return `Σ ‖W·x − Ŵ·x̂ − shift‖²`, the squared error of the output, at least 0.

        Args:
            weight: `W`, `(groups, rows, columns)`.
            new: `Ŵ`.
            shift: what is added to the bias, `(groups · rows,)`.
        """
        if not self.changed:
            difference = weight - new
            square = _square(difference, self.now.second, difference)
        else:
            square = _square(weight, self.before.second, weight)
            square += _square(new, self.now.second, new)
            square -= 2.0 * _square(weight, self.cross, new)
        had = np.einsum("grc,gc->gr", weight, self.before.first)
        has = np.einsum("grc,gc->gr", new, self.now.first)
        offset = _offset(-shift.reshape(weight.shape[:2]), had - has, self.now.count)
        return max(square + offset, 0.0)


def paired_moments(
    model: Model, reference: Model, names: Sequence[str], context: Context
) -> dict[str, Paired]:
    """Run the calibration data through two networks side by side.

    Args:
        model: the network as it is now; neither is changed.
        reference: the network as it was; it has the same layers.
        names: layers, by name; `hessian.passes` says how many at once, at three times the memory.
        context: gives the data, the batch size, threads and progress.

    Raises:
        DataError: there is no calibration data.
        ModelError: there is no such layer, or its input takes values that are not finite.
    """
    chosen = named_layers(reference, names)
    was = LayerInputs(reference, chosen.values(), context.threads)
    current = named_layers(model, names)
    has = LayerInputs(model, current.values(), context.threads)
    found: dict[str, Paired] = {}
    for batch in calibration_batches(chosen.values(), context, networks=2):
        before, now = was.run(batch), has.run(batch)
        for name, layer in chosen.items():
            x, y = before[str(layer.input.name)], now[str(current[name].input.name)]
            part = Paired(moments_of(layer, x), moments_of(layer, y), _cross(layer, x, y))
            found[name] = _added(found[name], part) if name in found else part
    return found


def _cross(layer: Layer, x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float64]:
    starts = range(0, len(x), _SAMPLES)
    parts = [
        np.matmul(
            columns(layer, x[a : a + _SAMPLES]), columns(layer, y[a : a + _SAMPLES]).swapaxes(1, 2)
        )
        for a in starts
    ]
    return np.asarray(np.sum(parts, axis=0, dtype=np.float64))


def _added(held: Paired, part: Paired) -> Paired:
    np.add(held.cross, part.cross, out=held.cross)
    return Paired(held.before.add(part.before), held.now.add(part.now), held.cross)


def _square(
    left: NDArray[np.float64], between: NDArray[np.float64], right: NDArray[np.float64]
) -> float:
    """Return `Σ_r left_r · between · right_rᵀ`."""
    return float(np.sum(np.matmul(left, between) * right))


def _offset(offset: NDArray[np.float64], sums: NDArray[np.float64], count: int) -> float:
    """Return what an offset adds to a sum of squares of numbers that sum up to `sums`."""
    return float(2.0 * np.sum(offset * sums) + count * np.sum(offset**2))
