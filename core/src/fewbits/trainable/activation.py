"""An activation whose step can be trained, and where activations are rounded."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from fewbits.graph import MOVING_OPS, clip_bounds, constant, only_reader, values_by_name
from fewbits.model import Encoding, Model
from fewbits.trainable.fakequant import bounds, fake_quantize

_NO_CLIP = (-torch.inf, torch.inf)


@dataclass(frozen=True)
class Rounding:
    """One place where the emulator rounds.

    Args:
        name: the value that lies on the grid.
        encoding: its encoding.
        source: what is rounded: that value, or what the Relu or Clip that writes it reads.
        clip: the bounds of that Relu or Clip.
    """

    name: str
    encoding: Encoding
    source: ir.Value
    clip: tuple[float, float]

    @property
    def node(self) -> ir.Node | None:
        """The Relu or Clip that is computed along, if there is one."""
        return None if self.source.name == self.name else self.source.consumers()[0]


class TrainableActivation(nn.Module):
    """`s · clamp(round(clip(x) / s), lo, hi)`, integers counted from the zero point, which stays.

    Its parameter `log_step` is `log(s / s_0)`, where `s_0` is the step it starts with.

    Args:
        rounding: where and how.
    """

    def __init__(self, rounding: Rounding) -> None:
        super().__init__()
        self.rounding = rounding
        encoding = rounding.encoding
        zero_point = int(encoding.zero_point)
        self.grid = (encoding.qmin - zero_point, encoding.qmax - zero_point)
        step = torch.tensor(np.asarray(encoding.scale))
        self.log_step = nn.Parameter(torch.zeros_like(step))
        self._first_step: Tensor
        self.register_buffer("_first_step", step)

    @property
    def step(self) -> Tensor:
        """`s`, one number."""
        return self._first_step * self.log_step.exp()

    def forward(self, x: Tensor) -> Tensor:
        """Round values onto the grid, differentiable in them and in the step."""
        return fake_quantize(x, self.step, self.grid, self.rounding.clip)

    def requantize(self, sums: Tensor, multiplier: Tensor) -> Tensor:
        """Return what a device makes of an accumulator, in real values.

        Args:
            sums: whole numbers; they are overwritten.
            multiplier: `s_w · s_a / s`, in a shape that broadcasts to them.
        """
        low, high = bounds(float(self.step.detach()), self.grid, self.rounding.clip)
        return sums.mul_(multiplier).round_().clamp_(low, high).mul_(self.step)


def roundings(model: Model) -> Iterator[Rounding]:
    """Yield the activations that have an encoding of their own, constants left out.

    Ops that move values about pass their input's encoding on.
    """
    origins = inherited(model)
    for name, value in values_by_name(model.graph).items():
        encoding = model.encodings.get(name)
        if encoding is None or name in origins or constant(value) is not None:
            continue
        yield Rounding(name, encoding, *_fused(value, model.encodings))


def inherited(model: Model) -> dict[str, str]:
    """Return value name → the value that it has its integers from, for values that are moved."""
    found: dict[str, str] = {}
    for node in model.graph:
        source = node.inputs[0] if node.inputs else None
        if source is None or node.op_type not in MOVING_OPS or source.name not in model.encodings:
            continue
        given = model.encodings[str(source.name)]
        for output in node.outputs:
            held = model.encodings.get(str(output.name))
            if held is not None and held.equals(given):
                found[str(output.name)] = found.get(str(source.name), str(source.name))
    return found


def _fused(
    value: ir.Value, encodings: Mapping[str, Encoding]
) -> tuple[ir.Value, tuple[float, float]]:
    """Return what is rounded to get `value`, and the bounds that it is clipped to on the way."""
    node = value.producer()
    if node is None or node.op_type not in ("Relu", "Clip"):
        return value, _NO_CLIP
    source, limits = node.inputs[0], clip_bounds(node)
    if source is None or limits is None or source.name in encodings or source.producer() is None:
        return value, _NO_CLIP
    return (source, limits) if only_reader(source) is node else (value, _NO_CLIP)
