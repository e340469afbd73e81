"""The algorithm `clip-weights`: an outlier must not cost all other weights their precision."""

from typing import Any

import numpy as np
from fewbits.graph import constant, layers, set_constant
from fewbits.interfaces import Algorithm, Context, Result
from fewbits.model import Model, Stage
from fewbits.options import Options
from fewbits.provenance import LayerNote, Report
from numpy.typing import NDArray
from pydantic import Field


class ClipWeightsOptions(Options):
    """Options of `clip-weights`."""

    sigmas: float = Field(
        4.0, gt=0, description="Largest weight allowed, in standard deviations around zero."
    )


class ClipWeights(Algorithm):
    """Clips every layer's weights to `±sigmas · σ`, `σ` being their root mean square.

    The fewer outliers, the finer the grid that quantization lays over the rest.
    """

    name = "clip-weights"
    stage = Stage.OPTIMIZED
    Options = ClipWeightsOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the model with clipped weights; the report counts them, layer by layer."""
        network = model.copy().network
        notes = []
        for before, layer in zip(layers(model.graph), layers(network.graph), strict=True):
            weight = constant(before.weight)
            assert weight is not None, "a layer's weight is constant"
            clipped, count = clip(weight, self.options.sigmas)
            if count:
                set_constant(layer.weight, clipped)
            notes.append(_note(layer.name, count, weight.size))
        report = _report(tuple(notes))
        return Result(model.advance(self.stage, network=network), report)


def clip(weight: NDArray[Any], sigmas: float) -> tuple[NDArray[Any], int]:
    """Clip `w` to `[−sigmas · σ, sigmas · σ]` with `σ = √mean(w²)`; zero stays zero.

    Args:
        weight: any shape.
        sigmas: the bound in units of `σ`.

    Returns:
        The clipped weight, of the same shape and type, and how many of its elements changed.

    >>> clip(np.array([3.0, -1.0, 1.0, -1.0]), 1.0)
    (array([ 1.73205081, -1.        ,  1.        , -1.        ]), 1)
    """
    bound = weight.dtype.type(sigmas * np.sqrt(np.mean(np.square(weight, dtype=np.float64))))
    clipped = np.clip(weight, -bound, bound)
    return clipped, int(np.count_nonzero(clipped != weight))


def _note(layer: str, count: int, size: int) -> LayerNote:
    values = {"clipped": count, "share": count / size}
    if count:
        return LayerNote(layer, "clipped", values=values)
    return LayerNote(layer, "skipped", reason="no weight lies outside the bound", values=values)


def _report(notes: tuple[LayerNote, ...]) -> Report:
    counts = [note.values["clipped"] for note in notes]
    touched = sum(count > 0 for count in counts)
    return Report(
        changed=touched > 0,
        summary=f"Clipped {sum(counts)} weights in {touched} of {len(notes)} layers.",
        layers=notes,
        metrics={"clipped": sum(counts)},
    )
