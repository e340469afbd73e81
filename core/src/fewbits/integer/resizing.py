"""Resize as sums of neighbours, axis by axis, in plain numpy."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.graph import constant
from fewbits.windows import text

_COORDINATES = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")


@dataclass(frozen=True)
class Resizing:
    """How a Resize with constant sizes finds each output element along each axis.

    Args:
        mode: `nearest` or `linear`.
        coordinates: how positions in the output become positions in the input.
        rounding: how a nearest neighbour is chosen.
        scales: output size over input size of each axis.
    """

    mode: str
    coordinates: str
    rounding: str
    scales: tuple[float, ...]

    @property
    def exact(self) -> bool:
        """Whether every weight is a sum of few powers of two, so that float32 holds all sums."""
        doubling = all(s >= 1 and np.log2(s) == int(np.log2(s)) and s <= 8 for s in self.scales)
        return self.mode == "nearest" or (doubling and self.coordinates != "align_corners")

    def apply(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the resized tensor; linear weights are exact in float64."""
        for axis, scale in enumerate(self.scales):
            if scale != 1.0:
                x = self._along(x, axis, scale)
        return x

    def _along(self, x: NDArray[Any], axis: int, scale: float) -> NDArray[Any]:
        size = x.shape[axis]
        place = self._positions(size, int(np.floor(size * scale)), scale)
        if self.mode == "nearest":
            return x.take(np.clip(self._nearest(place), 0, size - 1), axis)
        place = np.clip(place, 0, size - 1)
        below = np.floor(place).astype(int)
        above = np.minimum(below + 1, size - 1)
        shape = [1] * x.ndim
        shape[axis] = -1
        share = (place - below).reshape(shape)
        mixed: NDArray[Any] = x.take(below, axis) * (1 - share) + x.take(above, axis) * share
        return mixed

    def _positions(self, size: int, length: int, scale: float) -> NDArray[np.float64]:
        i = np.arange(length, dtype=np.float64)
        if self.coordinates == "asymmetric":
            return i / scale
        if self.coordinates == "align_corners":
            return i * ((size - 1) / max(length - 1, 1))
        if self.coordinates == "pytorch_half_pixel" and length == 1:
            return np.zeros(1)
        return (i + 0.5) / scale - 0.5

    def _nearest(self, place: NDArray[np.float64]) -> NDArray[np.int64]:
        rounded = {
            "floor": np.floor(place),
            "ceil": np.ceil(place),
            "round_prefer_ceil": np.floor(place + 0.5),
        }.get(self.rounding, np.ceil(place - 0.5))
        return rounded.astype(np.int64)


def resizing(node: ir.Node) -> Resizing | None:
    """Return how a Resize works; None if its sizes are computed, or in a way not stated here."""
    mode = text(node, "mode", "nearest")
    coordinates = text(node, "coordinate_transformation_mode", "half_pixel")
    scales = _scales(node)
    plain = not {"axes", "antialias", "exclude_outside"} & {
        name for name, held in node.attributes.items() if held.value
    }
    if scales is None or mode not in ("nearest", "linear") or coordinates not in _COORDINATES:
        return None
    rounding = text(node, "nearest_mode", "round_prefer_floor")
    return Resizing(mode, coordinates, rounding, scales) if plain else None


def _scales(node: ir.Node) -> tuple[float, ...] | None:
    inputs = (*node.inputs, None, None, None)
    scales = constant(inputs[2])
    if scales is not None and scales.size:
        return tuple(map(float, scales))
    sizes, source = constant(inputs[3]), inputs[0]
    shape = None if source is None else source.shape
    if sizes is None or shape is None:
        return None
    pairs = zip(sizes, shape, strict=True)
    return tuple(
        float(a) / b if isinstance(b, int) and place else 1.0 for place, (a, b) in enumerate(pairs)
    )
