"""A quantized model as a torch module whose forward pass agrees with the emulator."""

from collections.abc import Collection

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fewbits.channels import Slot, find_channels
from fewbits.errors import ModelError
from fewbits.graph import Layer, layers
from fewbits.kernels import in_channels
from fewbits.model import Model, Stage
from fewbits.trainable.activation import TrainableActivation, inherited, roundings
from fewbits.trainable.graphrun import Constants, Tensors, evaluated, laid_out, schedule
from fewbits.trainable.layer import Arrays, Classes, TrainableLayer
from fewbits.trainable.ops import op_of

_EXACT_BITS = 8


class QuantizedNetwork(nn.Module):
    """A model at stage `quantized` with every degree of freedom a parameter.

    Weights are rounded onto their grids in each forward pass, and activations where the emulator
    rounds them; gradients pass straight through. Without gradients (`torch.no_grad`) layers add up
    whole numbers and requantize them as the emulator does, so that what is judged is what runs:
    float sums would meet other ties, and a network at its depth makes much of each.

    Args:
        model: the quantized model; layers that it leaves in float stay as they are.
        start: initializer name → full-precision weight or bias to start from, for those that
            should not start from their rounded values.

    Raises:
        ModelError: the model is not quantized, or holds an op that torch is not taught here.
    """

    def __init__(self, model: Model, start: Arrays | None = None) -> None:
        super().__init__()
        if model.stage.rank < Stage.QUANTIZED.rank:
            raise ModelError(
                f"{model.name} is {model.stage}, not quantized.",
                hint="Put `quantize` before the step that trains.",
            )
        self.model = model
        classes, count = _factor_classes(model)
        self.log_factors = nn.Parameter(torch.zeros(count))
        self.layers = {
            layer.name: TrainableLayer(
                layer, model, start or {}, classes[layer.name], _bias_unit(layer, model)
            )
            for layer in layers(model.graph)
            if layer.name in model.precisions
        }
        self.activations = {each.name: TrainableActivation(each) for each in roundings(model)}
        self._registered = nn.ModuleList([*self.layers.values(), *self.activations.values()])
        self._constants = Constants(model.graph, _trained(self.layers))
        self._origins = inherited(model)
        self._by_node = {part.node: part for part in self.layers.values()}
        self._ops = {node: op_of(node) for node in model.graph}
        self._fused = {
            each.rounding.node: each for each in self.activations.values() if each.rounding.node
        }

    def degrees(self) -> dict[str, dict[str, nn.Parameter]]:
        """Return the parameters by kind, then by the name of their layer or value."""
        held = self.layers.items()
        return {
            "weights": {name: part.weight for name, part in held},
            "biases": {name: part.bias for name, part in held if part.bias is not None},
            "weight_scales": {name: part.log_step for name, part in held},
            "activation_scales": {name: each.log_step for name, each in self.activations.items()},
            "factors": {"all": self.log_factors} if len(self.log_factors) > 1 else {},
        }

    @property
    def factors(self) -> Tensor:
        """The cross-layer factor of each class; the first is 1."""
        return torch.cat([self.log_factors.new_zeros(1), self.log_factors[1:]]).exp()

    def spread(self) -> Tensor:
        """Return how far weights are from their integers: 0 on them, 1 if they lie anywhere.

        Added to a loss it keeps weights from going to and fro between two integers.
        """
        factors = self.factors
        parts = [part.spread(factors) for part in self.layers.values()]
        return torch.stack(parts).sum() / sum(p.weight.numel() for p in self.layers.values())

    def forward(self, inputs: Tensors, wanted: Collection[str] = ()) -> Tensors:
        """Compute the network's outputs, or the values called `wanted`.

        Args:
            inputs: input name → array, batch first.
            wanted: names of values; what lies between a layer and the activation fused to it need
                not occur.
        """
        names = tuple(wanted) or self.model.output_names
        held: Tensors = self._constants()
        held |= {name: self._rounded(name, laid_out(x)) for name, x in inputs.items()}
        factors = self.factors
        for node, finished in schedule(self.model.graph, names):
            held |= self._evaluate(node, held, factors)
            for name in finished:
                held.pop(name, None)
        return {name: held[name] for name in names}

    def _evaluate(self, node: ir.Node, held: Tensors, factors: Tensor) -> Tensors:
        """Return a node's outputs, rounded where they have encodings."""
        activation, part = self._fused.get(node), self._by_node.get(node)
        if activation is not None:
            name = activation.rounding.name
            source = str(activation.rounding.source.name)
            return {} if name in held else {name: activation(held[source])}
        if part is None:
            outputs = evaluated(node, self._ops[node], held)
        elif not torch.is_grad_enabled() and self.adds_up_exactly(part):
            return self._exactly(part, held, factors)
        else:
            source = str(part.layer.input.name)
            outputs = {str(node.outputs[0].name): part(held[source], factors)}
        return {name: self._rounded(name, x) for name, x in outputs.items()}

    def _exactly(self, part: TrainableLayer, held: Tensors, factors: Tensor) -> Tensors:
        """Return a layer's output through whole numbers, behind the activation fused to it."""
        behind = self.behind(part)
        assert behind is not None
        source = str(part.layer.input.name)
        step = self.source(part).step
        sums = part.accumulate((held[source] / step).round_(), step, factors)
        multiplier = part.along_output(part.step * step / behind.step, sums.ndim)
        return {behind.rounding.name: behind.requantize(sums, multiplier)}

    def adds_up_exactly(self, part: TrainableLayer) -> bool:
        """Whether a layer writes integers, and float32 holds its sums."""
        wide = max(self.source(part).rounding.encoding.bits, part.encoding.bits) > _EXACT_BITS
        return not wide and self.behind(part) is not None

    def source(self, part: TrainableLayer) -> TrainableActivation:
        """Return what rounds a layer's input."""
        name = str(part.layer.input.name)
        return self.activations[self._origins.get(name, name)]

    def behind(self, part: TrainableLayer) -> TrainableActivation | None:
        """Return what rounds a layer's output, directly or with the activation fused to it."""
        output = part.node.outputs[0]
        own = self.activations.get(str(output.name))
        if own is not None:
            return own
        readers = output.consumers()
        return self._fused.get(readers[0]) if len(readers) == 1 else None

    def _rounded(self, name: str, x: Tensor) -> Tensor:
        part = self.activations.get(name)
        return x if part is None else part(x)


def _trained(parts: dict[str, TrainableLayer]) -> set[str]:
    values = [v for part in parts.values() for v in (part.layer.weight, part.layer.bias)]
    return {str(value.name) for value in values if value is not None}


def _bias_unit(layer: Layer, model: Model) -> float:
    """Return the step of a layer's output; where that is float, of its largest products."""
    output = model.encodings.get(str(layer.output.name))
    if output is not None:
        return float(output.scale)
    weight, source = (model.encodings[str(v.name)] for v in (layer.weight, layer.input))
    return float(source.scale) * float(np.median(weight.scale)) * weight.qmax


def _factor_classes(model: Model) -> tuple[dict[str, Classes], int]:
    """Return the class of each layer's channels, and the number of classes.

    Classes with constants between the layers, which would have to scale with them, are left out.
    """
    found = find_channels(model.graph)
    kept = np.ones(found.count, np.bool_)
    kept[0] = False
    for operand in found.operands:
        kept[np.unique(operand.classes)] = False
    numbers = np.where(kept, np.cumsum(kept), 0)
    written, read = _by_layer(found.writers, numbers), _by_layer(found.readers, numbers)
    classes = {}
    for layer in layers(model.graph):
        out, into = np.zeros(layer.out_channels, np.int64), np.zeros(in_channels(layer), np.int64)
        classes[layer.name] = Classes(written.get(layer.name, out), read.get(layer.name, into))
    return classes, int(numbers.max(initial=0)) + 1


def _by_layer(slots: tuple[Slot, ...], numbers: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    return {slot.layer.name: numbers[slot.classes] for slot in slots}
