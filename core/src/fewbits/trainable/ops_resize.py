"""Resize in torch: torch's own where it samples the same places, else by an index or a matrix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fewbits.graph import int_attribute
from fewbits.trainable.ops_base import (
    Inputs,
    Op,
    decimal,
    given,
    ints,
    numbers,
    optional,
    text,
    unknown,
)

Places = NDArray[np.float32]

_TORCHS = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True)
class Axis:
    """How one axis changes.

    Args:
        axis: which one.
        old: its size.
        new: its size afterwards.
        scale: new places per old place; `new / old`, but for rounding.
    """

    axis: int
    old: int
    new: int
    scale: np.float32

    def places(self, node: ir.Node, mode: str) -> Places:
        """Return where between the old elements each new one lies, `(new,)`, in float32.

        Rounding to float32 at each step decides nearly all ties of `nearest` as ONNX Runtime does.

        Source: the ONNX operator Resize, `coordinate_transformation_mode`.
        """
        new, half = np.arange(self.new, dtype=np.float32), np.float32(0.5)
        centred = np.asarray(self._offset(mode) + (new + half) / self.scale - half, np.float32)
        match mode:
            case "half_pixel" | "half_pixel_symmetric":
                return centred
            case "pytorch_half_pixel":
                return centred if self.new > 1 else np.zeros_like(new)
            case "asymmetric":
                return np.asarray(new / self.scale, np.float32)
            case "align_corners":
                return np.asarray(new * np.float32(self.old - 1) / np.float32(max(self.new - 1, 1)))
        raise unknown(node, f"with coordinate_transformation_mode={mode}")

    def _offset(self, mode: str) -> np.float32:
        """Return what puts the middles of old and new together, where the scale alone does not."""
        if mode != "half_pixel_symmetric":
            return np.float32(0)
        stretch = np.float32(self.new) / np.float32(self.scale * np.float32(self.old))
        return np.float32(np.float32(self.old / 2) * (1 - stretch))


def resize(node: ir.Node, inputs: Inputs) -> Sequence[Tensor]:
    """Sample again at other places: `nearest`, `linear` or `cubic`."""
    x = given(inputs, 0)
    if int_attribute(node, "antialias", 0):
        raise unknown(node, "with antialias=1")
    coordinates = text(node, "coordinate_transformation_mode", "half_pixel")
    axes = [a for a in _axes(node, x, inputs) if a.new != a.old or a.scale != 1]
    places = {a: a.places(node, coordinates) for a in axes}
    match mode := text(node, "mode", "nearest"):
        case "nearest":
            return (_nearest(node, x, places),)
        case "linear":
            return (_linear(x, places),)
        case "cubic":
            return (_cubic(node, x, places),)
    raise unknown(node, f"with mode={mode}")


def _axes(node: ir.Node, x: Tensor, inputs: Inputs) -> list[Axis]:
    """Return how each axis changes, by scales or by sizes."""
    axes = [axis % x.ndim for axis in ints(node, "axes", range(x.ndim))]
    old = [x.shape[axis] for axis in axes]
    scales, sizes = optional(inputs, 2), numbers(optional(inputs, 3))
    if scales is not None and scales.numel():
        factors = scales.cpu().numpy().astype(np.float32)
        sizes = [int(np.floor(np.float32(size) * f)) for size, f in zip(old, factors, strict=True)]
    else:
        sizes, factors = _from_sizes(node, old, sizes or [])
    return [Axis(*each) for each in zip(axes, old, sizes, factors, strict=True)]


def _from_sizes(
    node: ir.Node, old: Sequence[int], new: Sequence[int]
) -> tuple[list[int], NDArray[np.float32]]:
    """Return sizes and scales, all scales the same if `keep_aspect_ratio_policy` says so."""
    scales = np.asarray(np.array(new, np.float32) / np.array(old, np.float32), np.float32)
    policy = text(node, "keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return list(new), scales
    one = scales.min() if policy == "not_larger" else scales.max()
    return [int(np.floor(size * one + np.float32(0.5))) for size in old], np.full_like(scales, one)


def _nearest(node: ir.Node, x: Tensor, places: Mapping[Axis, Places]) -> Tensor:
    chosen = {a: _rounded(node, p).clip(0, a.old - 1) for a, p in places.items()}
    if _is_torchs(x, chosen, "nearest"):
        return functional.interpolate(x, _sizes(x, chosen), mode="nearest")
    for axis, index in chosen.items():
        x = x.index_select(axis.axis, torch.from_numpy(index.astype(np.int64)).to(x.device))
    return x


def _rounded(node: ir.Node, at: Places) -> NDArray[np.float64]:
    """Return which element is meant by each place; halves are told apart in float64."""
    places = at.astype(np.float64)
    match mode := text(node, "nearest_mode", "round_prefer_floor"):
        case "round_prefer_floor":
            return np.asarray(np.ceil(places - 0.5))
        case "round_prefer_ceil":
            return np.asarray(np.floor(places + 0.5))
        case "floor":
            return np.asarray(np.floor(places))
        case "ceil":
            return np.asarray(np.ceil(places))
    raise unknown(node, f"with nearest_mode={mode}")


def _linear(x: Tensor, places: Mapping[Axis, Places]) -> Tensor:
    held = {a: p.clip(0, a.old - 1) for a, p in places.items()}
    for corners in (False, True):
        if _is_torchs(x, held, "linear", align_corners=corners):
            mode = _TORCHS[x.ndim - 2]
            return functional.interpolate(x, _sizes(x, held), mode=mode, align_corners=corners)
    for axis, at in held.items():
        low = np.floor(at)
        x = _combined(x, axis, [(low, 1 - (at - low)), (low + 1, at - low)])
    return x


def _cubic(node: ir.Node, x: Tensor, places: Mapping[Axis, Places]) -> Tensor:
    """Combine the four nearest elements of each axis (Keys 1981, equations 13 and 15)."""
    a = decimal(node, "cubic_coeff_a", -0.75)
    inside = int_attribute(node, "exclude_outside", 0)
    for axis, at in places.items():
        low = np.floor(at)
        taps = [(low + n, _keys(np.abs(at - low - n), a)) for n in (-1, 0, 1, 2)]
        if inside:
            taps = [(t, w * ((t >= 0) & (t < axis.old))) for t, w in taps]
            total = np.sum([w for _, w in taps], axis=0)
            taps = [(t, w / total) for t, w in taps]
        x = _combined(x, axis, taps)
    return x


def _keys(distance: Places, a: float) -> Places:
    d = distance.astype(np.float64)
    near = ((a + 2) * d - (a + 3)) * d**2 + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, far).astype(np.float32)


def _combined(x: Tensor, axis: Axis, taps: Sequence[tuple[Places, Places]]) -> Tensor:
    """Return sums of elements of an axis; those beyond its ends are the last ones.

    Args:
        x: the values.
        axis: along which.
        taps: places and weights, each `(new,)`.
    """
    matrix = np.zeros((axis.new, axis.old), np.float32)
    for places, weights in taps:
        index = places.astype(np.int64).clip(0, axis.old - 1)
        np.add.at(matrix, (np.arange(axis.new), index), weights)
    moved = x.movedim(axis.axis, -1) @ torch.from_numpy(matrix.T).to(x)
    return moved.movedim(-1, axis.axis)


def _is_torchs(
    x: Tensor, places: Mapping[Axis, Places], mode: str, align_corners: bool | None = None
) -> bool:
    """Whether torch, asked to resize a ramp to the new sizes, gives these very places."""
    if x.ndim - 2 not in _TORCHS or not places or min(a.axis for a in places) < 2:
        return False
    return all(
        np.allclose(_torchs_places(a, mode, align_corners), p, rtol=0, atol=1e-6 * a.old)
        for a, p in places.items()
    )


def _torchs_places(axis: Axis, mode: str, align_corners: bool | None) -> NDArray[np.float32]:
    ramp = torch.arange(axis.old, dtype=torch.float32).reshape(1, 1, -1)
    found = functional.interpolate(ramp, axis.new, mode=mode, align_corners=align_corners)
    return np.asarray(found.reshape(-1).numpy())


def _sizes(x: Tensor, places: Mapping[Axis, Places]) -> list[int]:
    """Return the sizes of the spatial axes afterwards."""
    sizes = list(x.shape[2:])
    for axis in places:
        sizes[axis.axis - 2] = axis.new
    return sizes


RESIZE: Mapping[str, Op] = {"Resize": resize}
