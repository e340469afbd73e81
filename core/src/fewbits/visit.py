"""One layer of a walk: what goes into it in either branch, and how it is changed."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.addend import Addend
from fewbits.graph import Layer, constant
from fewbits.model import Encoding, Model, Precision
from fewbits.runtime import Session
from fewbits.stored import Activations, as_real
from fewbits.workpiece import Workpiece

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Visit:
    """One layer, with what goes into it in either branch.

    Args:
        layer: of the quantized model.
        float_layer: the layer of the same name in the float model.
        source: the quantized layer's input, as integers, with what was replaced upstream.
        float_source: the float layer's input in the float model; None without `reference`.
        addend: what is added to the layer's output right behind it, in either branch; None where
            nothing is, where it is not known yet, or without `reference`.
    """

    layer: Layer
    float_layer: Layer
    source: Activations
    float_source: Activations | None
    _piece: Workpiece
    _origin: Model
    _threads: int | None
    addend: Addend | None = None

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.layer.name

    @property
    def precision(self) -> Precision:
        """The layer's precision mode."""
        return self._piece.model.precisions[self.name]

    @property
    def weight(self) -> Array:
        """The quantized layer's weight as it stands, on its grid, in the layer's layout."""
        return np.asarray(constant(self.layer.weight), np.float32)

    @property
    def bias(self) -> Array | None:
        """The quantized layer's bias as it stands, `(out,)`, or None."""
        bias = constant(self.layer.bias)
        return None if bias is None else np.asarray(bias, np.float32)

    @property
    def float_weight(self) -> Array:
        """The float layer's weight."""
        return np.asarray(constant(self.float_layer.weight), np.float32)

    @property
    def float_bias(self) -> Array:
        """The float layer's bias, `(out,)`; zeros where it has none."""
        bias, shape = constant(self.float_layer.bias), (self.float_layer.out_channels,)
        found = np.zeros(shape) if bias is None else np.broadcast_to(bias.ravel(), shape)
        return np.asarray(found, np.float32)

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """Which weights may be other than zero; None where all may."""
        return self._piece.model.masks.get(str(self.layer.weight.name))

    @property
    def weight_encoding(self) -> Encoding:
        """The weight's encoding as it stands."""
        return self._piece.encodings[str(self.layer.weight.name)]

    @property
    def bias_encoding(self) -> Encoding | None:
        """The bias's encoding as it stands, or None without a bias."""
        bias = self.layer.bias
        return None if bias is None else self._piece.encodings[str(bias.name)]

    @property
    def output_encoding(self) -> Encoding | None:
        """The encoding of what the layer writes behind its activation; None where that is float."""
        return self._piece.encodings.get(str(self.layer.output.name))

    def replace(
        self,
        *,
        weight: NDArray[np.floating] | None = None,
        bias: NDArray[np.floating] | None = None,
        encoding: Encoding | None = None,
    ) -> None:
        """Give the layer another weight, bias, or weight encoding; what is not given stays.

        Args:
            weight: real values, in the layer's layout; rounded onto the grid, masks kept.
            bias: real values, `(out,)`; rounded to `s_w · s_a`.
            encoding: of the weight; same bits and granularity as before.

        Raises:
            ModelError: bits or granularity differ, there is no bias, or it does not fit.
        """
        self._piece.replace(self.layer, weight, bias, encoding)
        self.__dict__.pop("_session", None)

    def forward(self, stored: NDArray[Any]) -> Array:
        """Return the quantized layer's output, real values, behind activation and rounding.

        Args:
            stored: input of some samples as `source` holds it.
        """
        found = next(iter(self._session.run({self._session.inputs[0].name: stored}).values()))
        return as_real(found, self.output_encoding)

    def float_forward(self, x: Array) -> Array:
        """Return the float layer's output behind its activation.

        Args:
            x: input of some samples, from `float_source` or `source.real`.
        """
        session = self._float_session
        return np.asarray(next(iter(session.run({session.inputs[0].name: x}).values())), np.float32)

    @cached_property
    def _session(self) -> Session:
        layer, piece = self.layer, self._piece
        return _between(
            piece.network, piece.running(layer.input), piece.running(layer.output), self._threads
        )

    @cached_property
    def _float_session(self) -> Session:
        layer = self.float_layer
        return _between(self._origin.network, layer.input, layer.output, self._threads)


def _between(network: ir.Model, start: ir.Value, end: ir.Value, threads: int | None) -> Session:
    graph = ir.convenience.extract(network.graph, [start], [end])
    return Session(ir.Model(graph, ir_version=network.ir_version), threads=threads)
