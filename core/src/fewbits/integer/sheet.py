"""What a network of integers is written on: which value holds which tensor."""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.graph import constant
from fewbits.integer.onnxparts import Parts
from fewbits.integer.rules import is_wide
from fewbits.integer.units import Unit
from fewbits.model import Encoding, Model
from fewbits.targets import Arithmetic

ONE = np.float32(1.0)


class Sheet:
    """The network that is being written.

    Args:
        model: the quantized model.
        arithmetic: of the device.
        graph: what is written to.
        unsigned_weights: hold 8-bit weights as unsigned integers.
    """

    def __init__(
        self, model: Model, arithmetic: Arithmetic, graph: ir.Graph, *, unsigned_weights: bool
    ) -> None:
        self.model = model
        self.arithmetic = arithmetic
        self.unsigned_weights = unsigned_weights
        self.parts = Parts(graph)
        self.constants: dict[str, NDArray[np.int64]] = {}
        self._held: dict[str, ir.Value] = {}

    def encoding(self, value: ir.Value) -> Encoding:
        """Return the encoding of a tensor of the model."""
        return self.model.encodings[str(value.name)]

    def wide(self, unit: Unit) -> bool:
        """Whether any of a unit's data has more than 8 bits."""
        return is_wide(unit, self.model.encodings)

    def hold(self, value: ir.Value, integers: ir.Value) -> None:
        """Say which value holds a tensor's integers: uint8 up to 8 bits, float32 above."""
        self._held[str(value.name)] = integers

    def hold_input(self, value: ir.Value) -> None:
        """Quantize an input of the network."""
        encoding = self.model.encodings.get(str(value.name))
        if encoding is None:
            return
        scaled = self.parts.op("Div", value, encoding.scale)
        zero = np.asarray(encoding.zero_point, np.float32)
        if self.arithmetic.zero_point_first:
            scaled, zero = self.parts.op("Add", scaled, zero), np.zeros((), np.float32)
        self.hold(value, self.on_grid(scaled, encoding, zero))

    def integers(self, value: ir.Value) -> ir.Value:
        """Return what holds a tensor's integers."""
        name = str(value.name)
        if name not in self._held:
            kind = np.uint8 if self.encoding(value).bits <= 8 else np.float32
            self._held[name] = self.parts.constant(self.constants[name], kind)
        return self._held[name]

    def zero(self, value: ir.Value) -> NDArray[Any]:
        """Return a tensor's zero point, in uint8."""
        return self.encoding(value).zero_point.astype(np.uint8)

    def centred(self, value: ir.Value, kind: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
        """Return `q − z` in float32 or float64."""
        encoding, q = self.encoding(value), self.integers(value)
        if encoding.bits <= 8 or kind is not ir.DataType.FLOAT:
            q = self.parts.cast(q, kind)
        return self.parts.op("Sub", q, encoding.zero_point.astype(kind.numpy()))

    def real(self, value: ir.Value) -> ir.Value:
        """Return what a tensor's integers stand for."""
        return self.parts.op("Mul", self.centred(value), self.encoding(value).scale)

    def rounded(self, v: ir.Value, unit: Unit, *, wide: bool) -> ir.Value:
        """Return `clip(round(v) + z, qmin, qmax)`; `v` is in float64 where a unit is wide."""
        encoding = self.encoding(unit.output)
        kind = np.float64 if wide else np.float32
        return self.on_grid(v, encoding, encoding.zero_point.astype(kind))

    def requantized(self, exact: ir.Value, m: NDArray[Any], unit: Unit) -> ir.Value:
        """Return `clip(round(m · exact) + z, qmin, qmax)`; `exact` is in float64 if it is wide."""
        wide = self.wide(unit)
        scaled = self.parts.op("Mul", exact, m.astype(np.float64 if wide else np.float32))
        return self.rounded(scaled, unit, wide=wide)

    def copied(self, value: ir.Value | None) -> ir.Value | None:
        """Return a constant operand that is no data, such as a shape."""
        array = constant(value)
        return None if array is None else self.parts.constant(array)

    def attributes(self, node: ir.Node) -> dict[str, Any]:
        """Return a node's attributes, for a node that computes the same."""
        return {name: attribute.value for name, attribute in node.attributes.items()}

    def on_grid(self, v: ir.Value, encoding: Encoding, zero: Any) -> ir.Value:
        """Return `clip(round(v) + zero, qmin, qmax)` in the type that holds the encoding.

        Args:
            v: in the type of `zero`.
            encoding: of the result.
            zero: what is added after rounding; float32 or float64.
        """
        held = ir.DataType.UINT8 if encoding.bits <= 8 else ir.DataType.FLOAT
        if held is ir.DataType.UINT8 and zero.dtype == np.float32:
            return self.parts.op("QuantizeLinear", v, ONE, zero.astype(np.uint8))
        kind = zero.dtype
        q = self.parts.op("Add", self.parts.op("Round", v), zero)
        ends = (np.asarray(end, kind) for end in (encoding.qmin, encoding.qmax))
        q = self.parts.op("Clip", q, *ends)
        return q if held is ir.DataType.FLOAT and kind == np.float32 else self.parts.cast(q, held)
