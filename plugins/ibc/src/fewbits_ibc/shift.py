"""How far a quantized layer's outputs are off in the mean, exactly and without running it."""

from dataclasses import dataclass

import numpy as np
from fewbits.data import Dataset
from fewbits.interfaces import Context
from fewbits.model import Model, Stage
from fewbits.outputmeans import column_means, float_output_means, output_means
from fewbits.walk import Visit, Walk
from numpy.typing import NDArray


@dataclass(frozen=True)
class Means:
    """Means of a layer's output in front of its activation, over samples and positions.

    Args:
        wanted: `E[z]` in full precision, `(out,)`.
        product: `W_q·E[x̂]`, what the quantized layer has before its bias, `(out,)`.
    """

    wanted: NDArray[np.float64]
    product: NDArray[np.float64]

    @classmethod
    def of(cls, visit: Visit, wanted: NDArray[np.float64]) -> "Means":
        """Return the means of a layer that a walk visits."""
        columns = column_means(visit.layer, visit.source)
        return cls(wanted, output_means(visit.layer, visit.weight, columns))


def output_shift(means: Means, bias: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return `E_float[z] − E_quant[z]` with `E_quant[z] = W_q·E[x̂] + b`, `(out,)`.

    The accumulator of a quantized layer is exact, so this is no estimate. Padding is the zero
    point, which stands for 0 like padding in full precision.

    Args:
        means: of the layer.
        bias: `b`, `(out,)`.

    >>> output_shift(Means(np.array([3.0]), np.array([1.5])), np.array([1.0]))
    array([0.5])
    """
    return np.asarray(means.wanted - means.product - bias.astype(np.float64))


def rms(values: NDArray[np.float64]) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def model_shifts(model: Model, context: Context) -> dict[str, NDArray[np.float64]]:
    """Return the shift of each layer that has a bias, everything as it stands, `(out,)` each.

    Args:
        model: at stage `quantized`.
        context: gives the data, the batch size, threads and progress.
    """
    dataset: Dataset = context.need_calibration("Measuring shifts")
    found: dict[str, NDArray[np.float64]] = {}
    with Walk(
        model,
        dataset,
        reference=False,
        batch_size=context.batch_size,
        threads=context.threads,
    ) as walk:
        biased = [name for name in walk.names if walk.layer(name).bias is not None]
        wanted = float_output_means(model.at(Stage.OPTIMIZED), biased, context)
        for visit in walk:
            if visit.bias is not None:
                found[visit.name] = output_shift(Means.of(visit, wanted[visit.name]), visit.bias)
    return found
