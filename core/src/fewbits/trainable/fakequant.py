"""Fake quantization with straight-through gradients, for values and for the scale.

`y = s · clamp(round(x / s), lo, hi)`, the integers counted from the zero point. Within the range
`∂y/∂x = 1` and `∂y/∂s = round(x/s) − x/s`; outside `∂y/∂x = 0` and `∂y/∂s` is the bound (Esser et
al. 2020, LSQ, equations 2 and 3).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: elements worked on at a time on a CPU, so that they stay in its cache between the passes.
_BLOCK = 1 << 18


class _FakeQuantize(torch.autograd.Function):
    """One scale for the whole tensor, and a clip computed along."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, grid: tuple[int, int], clip: tuple[float, float]
    ) -> Tensor:
        step = float(scale.detach())
        low, high = bounds(step, grid, clip)
        dense = _dense(x)
        y = torch.empty_like(dense)
        for part, out in zip(_blocks(dense), _blocks(y), strict=True):
            torch.div(part, step, out=out).round_().clamp_(low, high).mul_(step)
        ctx.save_for_backward(dense)
        ctx.step, ctx.grid, ctx.clip, ctx.shape = step, grid, clip, scale.shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (x,) = ctx.saved_tensors
        ends = _ends(ctx.step, ctx.grid, ctx.clip)
        gradient = _like(gradient, x)
        towards_x = torch.empty_like(x)
        towards_scale = 0.0
        blocks = zip(_blocks(x), _blocks(gradient), _blocks(towards_x), strict=True)
        for part, incoming, outgoing in blocks:
            towards_scale += _block_backward(part, incoming, outgoing, ctx.step, ends)
        return towards_x, gradient.new_tensor(towards_scale).reshape(ctx.shape), None, None


def fake_quantize(
    x: Tensor,
    scale: Tensor,
    grid: tuple[int, int],
    clip: tuple[float, float] = (-torch.inf, torch.inf),
) -> Tensor:
    """Return `s · clamp(round(clip(x) / s), lo, hi)`, differentiable in `x` and `s`.

    Args:
        x: values, any shape.
        scale: `s`, one positive number.
        grid: `lo, hi`: smallest and largest integer, the zero point subtracted.
        clip: bounds of the activation that the quantized layer is fused with.
    """
    result: Tensor = _FakeQuantize.apply(x, scale, grid, clip)  # type: ignore[no-untyped-call]
    return result


def fake_quantize_weight(weight: Tensor, scale: Tensor, largest: int) -> Tensor:
    """Return `s · clamp(round(w / s), −largest, largest)`, differentiable in `w` and `s`.

    Args:
        weight: any shape.
        scale: positive, of a shape that broadcasts to the weight's.
        largest: the largest integer of the symmetric grid.
    """
    ratio = weight / scale
    bounded = ratio.clamp(-largest, largest)
    return (bounded + (bounded.round() - bounded).detach()) * scale


def bounds(step: float, grid: tuple[int, int], clip: tuple[float, float]) -> tuple[float, float]:
    """Return the smallest and largest integer that a clipped and rounded value can take."""
    low, high = (round(bound / step) if abs(bound) < torch.inf else bound for bound in clip)
    return max(grid[0], low), min(grid[1], high)


def _ends(
    step: float, grid: tuple[int, int], clip: tuple[float, float]
) -> tuple[float, float, float, float]:
    """Return the range of `x / s` through which gradients pass, and `∂y/∂s` below and above it."""
    inner = (clip[0] / step, clip[1] / step)
    low, high = max(grid[0] - 0.5, inner[0]), min(grid[1] + 0.5, inner[1])
    below = grid[0] if low > inner[0] else round(low) - low
    above = grid[1] if high < inner[1] else round(high) - high
    return low, high, float(below), float(above)


def _block_backward(
    x: Tensor, gradient: Tensor, out: Tensor, step: float, ends: tuple[float, float, float, float]
) -> float:
    """Write `∂L/∂x` to `out` and return `∂L/∂s`."""
    low, high, below, above = ends
    ratio = x / step
    bounded = ratio.clamp(low, high)
    torch.ops.aten.hardtanh_backward(gradient, ratio, low, high, grad_input=out)
    residual = torch.dot(out, ratio.copy_(bounded).round_().sub_(bounded))
    if not below and not above:
        return float(residual)
    lost = torch.sub(gradient, out, out=ratio)  # what arrived outside, where `bounded` is an end
    both = float(lost.sum())
    at_high = (float(torch.dot(lost, bounded)) - low * both) / (high - low)
    return float(residual) + below * (both - at_high) + above * at_high


def _dense(x: Tensor) -> Tensor:
    """Return a tensor whose elements lie in memory without gaps or overlap."""
    span = 1 + sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    return x if x.numel() == span and 0 not in x.stride() else x.contiguous()


def _like(x: Tensor, other: Tensor) -> Tensor:
    """Return `x` laid out in memory as `other` is."""
    return x if x.stride() == other.stride() else torch.empty_like(other).copy_(x)


def _blocks(x: Tensor) -> tuple[Tensor, ...]:
    flat = x.as_strided((x.numel(),), (1,))
    size = _BLOCK if x.device.type == "cpu" else max(x.numel(), 1)
    return torch.split(flat, size)
