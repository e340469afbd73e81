"""A weighted layer whose weight, bias and step can be trained."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fewbits.graph import Layer, constant
from fewbits.model import Encoding, Model
from fewbits.trainable.fakequant import fake_quantize_weight
from fewbits.trainable.ops import OPS

Arrays = Mapping[str, NDArray[np.floating]]


@dataclass(frozen=True)
class Classes:
    """Which cross-layer factor each channel of a layer takes; number 0 is fixed at 1.

    Args:
        written: of each output channel, `(out,)`.
        read: of each input channel, `(in,)`.
    """

    written: NDArray[np.int64]
    read: NDArray[np.int64]


class TrainableLayer(nn.Module):
    """`W_q = s · clamp(round(W · f_out / f_in / s), ±q_max)`, `b_q = b · f_out`.

    Parameters:

    - `weight`: `W / u`, in full precision, in the layer's own layout; `u` is the power of two next
      to the first step of each channel, so that an optimizer's step means the same everywhere.
    - `bias`: `b / v`, `(out,)`, in full precision; none if the layer has none.
    - `log_step`: `log(s / s_0)`, `(out,)` or one number; `s_0` is the step it starts with, so that
      0 stands for it exactly.

    Args:
        layer: of the quantized graph.
        model: the quantized model.
        start: initializer name → weight or bias to start from instead of the graph's.
        classes: which cross-layer factors its channels take.
        bias_unit: about `v`, what a bias is told in; the power of two next to it is taken.

    Attributes:
        coarse: compute products in bfloat16 while training; depthwise layers, whose gradients are
            slower in it, stay in float32.
    """

    def __init__(
        self, layer: Layer, model: Model, start: Arrays, classes: Classes, bias_unit: float
    ) -> None:
        super().__init__()
        self.layer = layer
        self.coarse = False
        self.encoding: Encoding = model.encodings[str(layer.weight.name)]
        step = torch.tensor(self.encoding.scale)
        self.log_step = nn.Parameter(torch.zeros_like(step))
        self._first_step: Tensor
        self.register_buffer("_first_step", step)
        weight = _laid_out(_tensor(layer.weight, start))
        self._unit: Tensor
        self.register_buffer("_unit", self._along(_power_of_two(step), weight.ndim))
        self.weight = nn.Parameter(weight / self._unit)
        self._bias_unit = float(_power_of_two(torch.tensor(bias_unit)))
        bias = None if layer.bias is None else _tensor(layer.bias, start) / self._bias_unit
        self.bias = None if bias is None else nn.Parameter(bias)
        mask = model.masks.get(str(layer.weight.name))
        self._mask: Tensor | None
        self.register_buffer("_mask", None if mask is None else torch.tensor(mask))
        self._written: Tensor
        self._read: Tensor
        self.register_buffer("_written", torch.tensor(classes.written))
        self.register_buffer("_read", torch.tensor(classes.read))
        self._integers: Tensor | None
        self.register_buffer("_integers", None)
        self._scaled = bool(classes.written.any() or classes.read.any())

    @property
    def node(self) -> ir.Node:
        """The node."""
        return self.layer.node

    @property
    def step(self) -> Tensor:
        """`s`, `(out,)` or one number."""
        return self._first_step * self.log_step.exp()

    def hold_integers(self, factors: Tensor) -> None:
        """Hold the weight's integers as they are from now on: it is `s · q`, whatever `weight` is.

        So the step can be trained without any weight going to another integer.

        Args:
            factors: the factor of each class, `(classes,)`; they leave this weight alone then.
        """
        with torch.no_grad():
            ratio = self.full_weight(factors) / self._along(self.step, self.weight.ndim)
            self._integers = ratio.round_().clamp_(-self.encoding.qmax, self.encoding.qmax)

    def full_weight(self, factors: Tensor) -> Tensor:
        """Return the weight before rounding, cross-layer factors applied, masked.

        Args:
            factors: the factor of each class, `(classes,)`.
        """
        if self._integers is not None:
            return self._integers * self._along(self.step, self.weight.ndim)
        weight = self.weight * self._unit
        if self._scaled:
            weight = weight * self._ratios(factors)
        return weight if self._mask is None else weight * self._mask

    def full_bias(self, factors: Tensor) -> Tensor | None:
        """Return the bias before rounding, cross-layer factors applied, `(out,)`."""
        if self.bias is None:
            return None
        bias = self.bias * self._bias_unit
        return bias * factors[self._written] if self._scaled else bias

    def forward(self, x: Tensor, factors: Tensor) -> Tensor:
        """Return the layer's output before its activation, differentiable.

        Args:
            x: the input, on its grid.
            factors: the factor of each class, `(classes,)`.
        """
        weight = fake_quantize_weight(
            self.full_weight(factors), self._along(self.step, self.weight.ndim), self.encoding.qmax
        )
        bias = self.full_bias(factors)
        if not self.coarse or 1 < self.layer.groups == self.layer.out_channels:
            (y,) = OPS[self.node.op_type](self.node, (x, weight, bias))
            return y
        inputs = [None if each is None else each.bfloat16() for each in (x, weight, bias)]
        (y,) = OPS[self.node.op_type](self.node, inputs)
        return y.float()

    def accumulate(self, x: Tensor, step: Tensor, factors: Tensor) -> Tensor:
        """Return the sums of products and the bias, all whole numbers, as a device adds them up.

        They are exact while they stay below 2^24.

        Args:
            x: the input's integers, zero point subtracted.
            step: the input's step.
            factors: the factor of each class, `(classes,)`.
        """
        ratio = self.full_weight(factors) / self._along(self.step, self.weight.ndim)
        weight = ratio.round_().clamp_(-self.encoding.qmax, self.encoding.qmax)
        bias = self.full_bias(factors)
        if bias is not None:
            whole = self._of_each_output(self.step * step).double()
            bias = (bias.double() / whole).round().float()
        (y,) = OPS[self.node.op_type](self.node, (x, weight, bias))
        return y

    def spread(self, factors: Tensor) -> Tensor:
        """Return `12 · Σ (W/s − round(W/s))²`: 1 for each weight if they lie anywhere.

        Differentiable in the weights alone (Nagel et al. 2022, "Overcoming oscillations in
        quantization-aware training", equation 7, without weights beyond the grid).

        Args:
            factors: the factor of each class, `(classes,)`.
        """
        step = self._along(self.step, self.weight.ndim).detach()
        ratio = (self.full_weight(factors) / step).clamp(-self.encoding.qmax, self.encoding.qmax)
        return 12.0 * (ratio - ratio.detach().round()).square().sum()

    def along_output(self, parameter: Tensor, ndim: int) -> Tensor:
        """Reshape one number per output channel so that it broadcasts over an output."""
        if not parameter.ndim:
            return parameter
        shape = [1] * ndim
        shape[1 if self.node.op_type.startswith("Conv") else ndim - 1] = -1
        return self._of_each_output(parameter).reshape(shape)

    def _of_each_output(self, parameter: Tensor) -> Tensor:
        """Return one number per output channel where groups of a ConvTranspose share them."""
        if not parameter.ndim or parameter.numel() == self.layer.out_channels:
            return parameter
        return parameter.repeat(self.layer.out_channels // parameter.numel())

    def _ratios(self, factors: Tensor) -> Tensor:
        """Return `f_out / f_in` of each weight, in a shape that broadcasts to it."""
        kernel = (1,) * max(self.weight.ndim - 2, 0)
        out = factors[self._written].reshape(self.layer.groups, -1, 1, *kernel)
        into = factors[self._read].reshape(self.layer.groups, 1, -1, *kernel)
        blocks = out / into
        split = blocks.swapaxes(1, 2) if self.layer.weight_axis == 1 else blocks
        return split.reshape(-1, *split.shape[2:])

    def _along(self, parameter: Tensor, ndim: int) -> Tensor:
        """Reshape one number per channel so that it broadcasts over the weight."""
        if not parameter.ndim or self.encoding.axis is None:
            return parameter
        shape = [1] * ndim
        shape[self.encoding.axis] = -1
        return parameter.reshape(shape)


def _power_of_two(x: Tensor) -> Tensor:
    """Return the power of two next to each number: what is divided by it stays exact."""
    return x.log2().round().exp2()


def _tensor(value: ir.Value, start: Arrays) -> Tensor:
    array = start.get(str(value.name), constant(value))
    return torch.tensor(np.asarray(array, np.float32))


def _laid_out(weight: Tensor) -> Tensor:
    """Return a weight as torch's fastest convolutions want it in memory."""
    return weight.contiguous(memory_format=torch.channels_last) if weight.ndim == 4 else weight
