"""Hardware targets: what a device can represent and run, and what a plugin writes for one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from numpy.typing import NDArray

from fewbits.configurable import Configurable
from fewbits.data import Dataset
from fewbits.errors import TargetError
from fewbits.model import Model, Precision

if TYPE_CHECKING:
    from fewbits.recipe import Recipe


@dataclass(frozen=True)
class Arithmetic:
    """How a device without float computes; `fewbits.integer.rules` states the rules.

    Args:
        multiplier_bits: mantissa of the multiplier that brings an accumulator onto the output's
            grid, `m · 2^−shift`; at most 24.
        factor_bits: of the integers by which the two sides of a sum are weighted; at most 12.
        exponential_bits: of the exponentials that a softmax adds up.
        zero_point_first: whether an input is `round(x / s + z)` instead of `round(x / s) + z`.
    """

    multiplier_bits: int = 24
    factor_bits: int = 12
    exponential_bits: int = 15
    zero_point_first: bool = False


@dataclass(frozen=True)
class ShiftLimits:
    """Which multipliers `s_w · s_a / s_out = m · 2^−shift`, `0.5 ≤ m < 1`, a device can apply.

    Args:
        left: how far a result may be shifted left, `−shift`, by bits of the output's data.
        spread: how far the shifts of one layer's channels may lie apart.
    """

    left: Mapping[int, int]
    spread: int


@dataclass(frozen=True)
class TargetSpec:
    """What a target can represent and run; all that steps may ask of a device.

    Args:
        precisions: the precision modes it runs.
        weights: how weights are scaled unless the user says otherwise.
        granularities: what the user may choose.
        weighted_ops: layers that run in integers.
        quantized_ops: other ops that run in integers and write an encoding of their own.
        unary_ops: element-wise ops; a chain of them that depends on one tensor is computed by
            table, and only its end is encoded.
        passthrough_ops: ops that move values about; the output keeps its input's encoding.
        fused_activations: activations computed inside the layer before them, for free.
        float_ops: whether other ops may run in float between quantized tensors.
        float_outputs: weighted ops that may write a graph output in float from the accumulator.
        bias_bits: width of the bias and of the accumulator at 8-bit activations.
        wide_bits: how many of 16 bits an activation uses.
        arithmetic: how it computes if it computes in integers alone; None if in ONNX Runtime's
            way, as `docs/numerics.md` has it.
        shifts: limits of its requantization; None if there are none.
    """

    precisions: frozenset[Precision]
    weights: Literal["per_channel", "per_tensor"] = "per_channel"
    granularities: frozenset[str] = frozenset({"per_channel", "per_tensor"})
    weighted_ops: frozenset[str] = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
    quantized_ops: frozenset[str] = frozenset()
    unary_ops: frozenset[str] = frozenset()
    passthrough_ops: frozenset[str] = frozenset()
    fused_activations: frozenset[str] = frozenset({"Relu", "Clip"})
    float_ops: bool = True
    float_outputs: frozenset[str] = frozenset()
    bias_bits: int = 32
    wide_bits: int = 16
    arithmetic: Arithmetic | None = None
    shifts: ShiftLimits | None = None


class Runnable(ABC):
    """Something that turns inputs into outputs: a float session, an emulator, a device."""

    @abstractmethod
    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return output name → array for a batch of inputs."""

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Give back what it holds, such as a device; it cannot run afterwards."""


@dataclass(frozen=True)
class Finding:
    """Something a target cannot do with a model as it stands.

    Args:
        layer: the node or tensor concerned.
        limit: what the target allows.
        remedy: which pass or option helps.
        fatal: whether compilation is impossible, as opposed to slower or less accurate.
    """

    layer: str
    limit: str
    remedy: str
    fatal: bool = True


class Target(Configurable, ABC):
    """A device: what it can represent and run, its emulator, its compiler."""

    spec: ClassVar[TargetSpec]
    suffix: ClassVar[str]
    #: whether its own compiler calibrates again, so that `compile` and `bundle` need samples.
    needs_calibration: ClassVar[bool] = False

    @abstractmethod
    def check(self, model: Model) -> Sequence[Finding]:
        """Return everything that the target cannot run or runs in float."""

    def spread(self, model: Model, modes: Mapping[str, Precision]) -> Mapping[str, Precision]:
        """Return the modes that this device needs where single nodes are given those of `modes`.

        A step that chooses modes by itself asks this, so that a device on which 16 bits bind the
        neighbours can say so. By default nothing binds.

        Args:
            model: the network, in float.
            modes: node name → precision mode.
        """
        return modes

    @abstractmethod
    def emulator(self, model: Model, threads: int | None = None) -> Runnable:
        """Return a runnable with the device's numerics.

        It returns every output of the model's graph in real values. Noise analysis makes inner
        tensors outputs of a copy and runs that; it must compute the same as without them.

        Args:
            model: at stage `quantized`.
            threads: how many threads to use; None lets the runtime choose.
        """

    def need_compiler(self) -> None:
        """See, before any work, that what `compile` needs is on this machine; by default all is.

        Raises:
            TargetError: something is missing; the hint says what to do.
        """

    @abstractmethod
    def compile(self, model: Model, calibration: Dataset | None = None) -> bytes:
        """Return the executable's bytes; the caller writes them to a file, atomically.

        Args:
            model: at stage `quantized`.
            calibration: unlabelled samples, for a device whose own compiler calibrates again.

        Raises:
            TargetError: the model does not fit; names the layer, the limit and the remedy.
        """

    def bundle(
        self, model: Model, folder: Path, calibration: Dataset | None = None
    ) -> Sequence[Path]:
        """Write what another machine needs to compile the model; return the files.

        Args:
            model: at stage `quantized`.
            folder: where to write; it exists and is empty.
            calibration: unlabelled samples.

        Raises:
            TargetError: this target compiles here and hands nothing over, or the model does
                not fit.
        """
        raise TargetError(
            f"Target {self.name} hands nothing over to another machine.",
            hint="It compiles here: leave --bundle out.",
        )

    def device(self, model: Model, executable: Path | None = None) -> Runnable:
        """Return a runnable that runs the compiled model on the device itself.

        Args:
            model: at stage `quantized` or `compiled`.
            executable: the file that was compiled, here or elsewhere; None where the target
                finds it by itself.

        Raises:
            TargetError: there is no such device or no library for it; says what is missing.
        """
        raise TargetError(
            f"Target {self.name} has no device that fewbits can run models on.",
            hint="Measure it on the emulator: --target emulator.",
        )

    def for_speed(self, recipe: "Recipe") -> "Recipe":
        """Return the recipe with a step that has the device's compiler work for speed.

        Raises:
            TargetError: its compiler has no such setting.
        """
        raise TargetError(
            f"Target {self.name} has no compiler setting for performance.",
            hint="Leave --performance out.",
        )

    def layer_names(self, model: Model) -> Mapping[str, str]:
        """Return node name → name that the device's own tools give the layer; by default none."""
        return {}


def need_fit(model: Model, target: Target) -> None:
    """See that a target can run a model as it stands.

    Args:
        model: at any stage.
        target: the device.

    Raises:
        TargetError: it cannot; names the first layer, the limit and the remedy.
    """
    fatal = [finding for finding in target.check(model) if finding.fatal]
    if fatal:
        first, others = fatal[0], len(fatal) - 1
        more = f" ({others} more like it)" if others else ""
        raise TargetError(
            f"{target.name} cannot run '{first.layer}': {first.limit}{more}.", hint=first.remedy
        )
