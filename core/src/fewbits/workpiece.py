"""A quantized model while a walk changes it, in step with the network that runs."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.bias import bias_encoding
from fewbits.emulate import restore_constant, to_qdq
from fewbits.errors import ModelError
from fewbits.graph import Layer, constant, ensure_bias, layers, set_constant, values_by_name
from fewbits.model import Encoding, Model
from fewbits.numerics import fake_quantize
from fewbits.saturation import products_saturate


class Workpiece:
    """A copy of a quantized model, and its QDQ form, changed together.

    Args:
        model: at stage `quantized`; it is not changed.
        biases: give each layer that can have a bias, and has none, one of zeros.
        bias_bits: width of the accumulator at 8-bit activations and weights, for those.

    Raises:
        ModelError: the model is not quantized.
    """

    def __init__(self, model: Model, *, biases: bool = False, bias_bits: int = 32) -> None:
        self.changed: set[str] = set()
        self.encodings = dict(model.encodings)
        self._given = model
        self._copy = model.copy()
        if biases:
            self._add_biases(bias_bits)
        held = model.replace(network=self._copy.network, encodings=self.encodings)
        self.network = to_qdq(held, unsigned_weights=products_saturate())
        _name_types(self.network.graph)
        self._values = values_by_name(self.network.graph)
        self.layers = {
            layer.name: layer for layer in self._quantized() if constant(layer.input) is None
        }

    @property
    def model(self) -> Model:
        """The model as it stands; the one given if nothing has been replaced."""
        if not self.changed:
            return self._given
        return self._given.replace(network=self._copy.network, encodings=dict(self.encodings))

    def running(self, value: ir.Value) -> ir.Value:
        """Return what stands for a value in the QDQ form: its integers, if it is encoded."""
        return self._values[self._stand_in(str(value.name))]

    def twin(self, name: str) -> ir.Value | None:
        """Return what stands for the value of a name in the QDQ form, None if nothing does."""
        return self._values.get(self._stand_in(name))

    def entries(self) -> list[ir.Value]:
        """Return what stands for the graph's inputs."""
        inputs = [v for v in self._copy.graph.inputs if str(v.name) in self._copy.input_names]
        return [self.running(v) for v in inputs if str(v.name) in self.encodings]

    def replace(
        self,
        layer: Layer,
        weight: NDArray[np.floating] | None,
        bias: NDArray[np.floating] | None,
        encoding: Encoding | None,
    ) -> None:
        """Give a layer another weight, bias, or weight encoding; what is None stays.

        The weight is rounded onto its grid, masked weights are zero, and the bias is rounded to
        `s_w · s_a`.

        Raises:
            ModelError: the encoding has other bits or granularity than before, the layer has no
                bias, or the bias does not fit its integer.
        """
        on_grid = self._checked(layer, encoding)
        if weight is not None or encoding is not None:
            held = np.asarray(constant(layer.weight)) if weight is None else weight
            mask = self._given.masks.get(str(layer.weight.name))
            kept = held if mask is None else np.where(mask, held, np.zeros((), held.dtype))
            self._store(layer.weight, fake_quantize(kept, on_grid), on_grid)
        if layer.bias is None:
            if bias is not None:
                raise ModelError(
                    f"Layer '{layer.name}' has no bias to replace.",
                    hint="Walk with biases=True; a MatMul cannot have one.",
                )
        elif bias is not None or encoding is not None:
            held = np.asarray(constant(layer.bias)) if bias is None else bias
            self._store_bias(layer, held.astype(np.float64), on_grid)
        self.changed.add(layer.name)

    def _stand_in(self, name: str) -> str:
        return f"{name}.quantized" if name in self.encodings else name

    def _checked(self, layer: Layer, encoding: Encoding | None) -> Encoding:
        held = self.encodings[str(layer.weight.name)]
        if encoding is None:
            return held
        if (encoding.bits, encoding.axis, encoding.scale.shape) != (
            held.bits,
            held.axis,
            held.scale.shape,
        ):
            raise ModelError(
                f"Layer '{layer.name}': the new weight encoding has other bits or granularity than"
                f" the {held.bits}-bit one it replaces.",
                hint="Quantize the model again for another precision.",
            )
        return encoding

    def _store_bias(self, layer: Layer, bias: NDArray[np.float64], weight: Encoding) -> None:
        assert layer.bias is not None
        held = self.encodings[str(layer.bias.name)]
        source = self.encodings[str(layer.input.name)]
        on_grid = bias_encoding(weight, source, len(bias), held.bits)
        if np.any(bias > on_grid.high) or np.any(bias < on_grid.low):
            raise ModelError(
                f"The new bias of layer '{layer.name}' does not fit {held.bits} bits at its step.",
                hint="Widen the weight's encoding with fewbits.bias.with_room_for_bias.",
            )
        self._store(layer.bias, fake_quantize(bias, on_grid), on_grid)

    def _store(self, value: ir.Value, array: NDArray[np.float32], encoding: Encoding) -> None:
        name = str(value.name)
        set_constant(value, array)
        self.encodings[name] = encoding
        restore_constant(self.network, name, array, encoding)

    def _quantized(self) -> Sequence[Layer]:
        return [layer for layer in layers(self._copy.graph) if layer.name in self._given.precisions]

    def _add_biases(self, bits: int) -> None:
        for layer in self._quantized():
            weight = self.encodings[str(layer.weight.name)]
            source = self.encodings[str(layer.input.name)]
            ensure_bias(self._copy.graph, layer.node, layer.out_channels)
            if layer.bias is None and layer.op_type != "MatMul":
                added = layer.node.inputs[2]
                assert added is not None
                width = bits if source.bits <= 8 and weight.bits <= 8 else 48
                self.encodings[str(added.name)] = bias_encoding(
                    weight, source, layer.out_channels, width
                )


def _name_types(graph: ir.Graph) -> None:
    """Say what the outputs of QuantizeLinear are, so that a graph can begin from them."""
    for node in graph:
        source, zero_point = (*node.inputs, None, None)[0], (*node.inputs, None, None, None)[2]
        if node.op_type == "QuantizeLinear" and source is not None and zero_point is not None:
            node.outputs[0].type, node.outputs[0].shape = zero_point.type, source.shape
