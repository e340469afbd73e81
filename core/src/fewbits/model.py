"""The network as fewbits holds it: graph, encodings, stage, history."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.errors import ModelError, RecipeError
from fewbits.preprocess import Preprocess
from fewbits.provenance import StepRecord


class Stage(StrEnum):
    """How far a model has come; the order of the members is the order of the workflow."""

    PARSED = "parsed"
    OPTIMIZED = "optimized"
    QUANTIZED = "quantized"
    COMPILED = "compiled"

    @property
    def rank(self) -> int:
        """Position in the workflow, from 0."""
        return list(Stage).index(self)


@dataclass(frozen=True)
class Precision:
    """A precision mode: bits of a layer's activations (its output) and of its weights.

    >>> Precision.parse("a8_w4")
    Precision(activation_bits=8, weight_bits=4)
    >>> str(Precision(16, 8))
    'a16_w8'
    """

    activation_bits: int
    weight_bits: int

    @classmethod
    def parse(cls, text: str) -> "Precision":
        """Read `a8_w4`; raise RecipeError when the text is not of that form."""
        activation, separator, weight = text.partition("_")
        if separator and activation[:1] == "a" and weight[:1] == "w":
            bits = (activation[1:], weight[1:])
            if all(b in ("4", "8", "16") for b in bits):
                return cls(int(bits[0]), int(bits[1]))
        raise RecipeError(
            f"'{text}' is no precision mode.", hint="Write a8_w8, a8_w4, a16_w8 or a16_w16."
        )

    def __str__(self) -> str:
        return f"a{self.activation_bits}_w{self.weight_bits}"


@dataclass(frozen=True)
class Encoding:
    """How one tensor is represented: `x ≈ (q − zero_point) · scale`.

    Args:
        bits: width of the integer, 4 to 32; 48 for biases behind 16-bit activations or weights.
        signed: whether `q` is two's complement.
        scale: float32, shape `()` per tensor or `(channels,)` along `axis`.
        zero_point: int64, same shape as `scale`.
        axis: the channel axis, or None per tensor.
        narrow: drop the most negative value, so that the range is symmetric.
    """

    bits: int
    signed: bool
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int | None = None
    narrow: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", np.asarray(self.scale, np.float32))
        object.__setattr__(self, "zero_point", np.asarray(self.zero_point, np.int64))

    @property
    def qmin(self) -> int:
        """Smallest integer."""
        return (-(1 << (self.bits - 1)) + self.narrow) if self.signed else 0

    @property
    def qmax(self) -> int:
        """Largest integer."""
        return (1 << (self.bits - self.signed)) - 1

    @property
    def low(self) -> NDArray[np.float64]:
        """Smallest real value that can be represented, shape of `scale`."""
        return np.asarray((self.qmin - self.zero_point) * self.scale.astype(np.float64))

    @property
    def high(self) -> NDArray[np.float64]:
        """Largest real value that can be represented, shape of `scale`."""
        return np.asarray((self.qmax - self.zero_point) * self.scale.astype(np.float64))

    def equals(self, other: "Encoding") -> bool:
        """Whether both represent every value in the same way, bit for bit."""
        return (
            (self.bits, self.signed, self.axis, self.narrow)
            == (other.bits, other.signed, other.axis, other.narrow)
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )


def _no_mapping() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True)
class Model:
    """A network with all that fewbits knows of it. Never changed in place.

    Args:
        name: short name for tables and files.
        network: the graph; its weights are read-only arrays, shared between copies.
        stage: how far it has come.
        encodings: tensor name → encoding, of activations, weights and biases.
        precisions: layer name → precision mode, filled by the quantizer.
        masks: initializer name → bool array of the weights that may be non-zero; every pass keeps
            the others at zero.
        preprocess: how pictures become inputs; None when nothing was said.
        history: one record for each step so far.
        ancestors: the model as it stood at the end of each earlier stage, oldest first.
    """

    name: str
    network: ir.Model
    stage: Stage = Stage.PARSED
    encodings: Mapping[str, Encoding] = field(default_factory=_no_mapping)
    precisions: Mapping[str, Precision] = field(default_factory=_no_mapping)
    masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=_no_mapping)
    preprocess: Preprocess | None = None
    history: tuple[StepRecord, ...] = ()
    ancestors: tuple["Model", ...] = ()

    @property
    def graph(self) -> ir.Graph:
        """The network's main graph."""
        return self.network.graph

    @cached_property
    def input_names(self) -> tuple[str, ...]:
        """Names of the graph's inputs, in order, initializers left out."""
        return tuple(
            str(v.name) for v in self.graph.inputs if v.name not in self.graph.initializers
        )

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        """Names of the graph's outputs, in order."""
        return tuple(str(v.name) for v in self.graph.outputs)

    def copy(self) -> "Model":
        """Return a model whose graph can be changed freely; weights are shared, not copied."""
        return replace(self, network=self.network.clone())

    def replace(self, **changes: Any) -> "Model":
        """Return this model with some fields changed."""
        return replace(self, **changes)

    def advance(self, stage: Stage, **changes: Any) -> "Model":
        """Return the model at `stage`, remembering this one as an ancestor if the stage is new.

        Raises:
            RecipeError: `stage` lies before the present one.
        """
        if stage.rank < self.stage.rank:
            raise RecipeError(
                f"A model that is {self.stage} cannot become {stage} again.",
                hint="Put full-precision steps before quantization.",
            )
        past = self.ancestors if stage is self.stage else (*self.ancestors, self)
        return replace(self, stage=stage, ancestors=past, **changes)

    def at(self, stage: Stage) -> "Model":
        """Return the model as it stood at `stage`, or at the last stage before it.

        Raises:
            ModelError: the model has no such past.
        """
        lineage = (*self.ancestors, self)
        reached = [m for m in lineage if m.stage.rank <= stage.rank]
        if not reached:
            raise ModelError(
                f"{self.name} holds no {stage} stage.", hint="Parse the network again."
            )
        return reached[-1]
