"""The targets: one class for eight devices, each a row of the table in `devices`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from fewbits.data import Dataset
from fewbits.errors import TargetError
from fewbits.integer.writer import to_integers
from fewbits.interfaces import Finding, Runnable, Target
from fewbits.model import Model, Precision, Stage
from fewbits.options import Options
from fewbits.recipe import Recipe
from fewbits.runtime import Session
from fewbits.saturation import products_saturate
from fewbits.targets import need_fit
from pydantic import Field

from fewbits_hailo.checks import findings
from fewbits_hailo.devices import Device, device_called
from fewbits_hailo.dfc import compile_here, need_compiler, write_bundle
from fewbits_hailo.hardware import HardwareRunner
from fewbits_hailo.layernames import layer_names
from fewbits_hailo.limits import spec_of
from fewbits_hailo.script.step import with_line
from fewbits_hailo.widths import spread

#: what `hailomz --performance` adds to a model script.
FAST = "performance_param(compiler_optimization_level=max)"


class HailoOptions(Options):
    """Options of every Hailo target."""

    har: Path | None = Field(
        None,
        exclude=True,
        description="Where the compiler's own archive is kept when a HEF is made.",
    )
    performance: bool = Field(
        False, description="Have the compiler search for the fastest result, which takes long."
    )


class HailoTarget(Target):
    """A Hailo device; the subclasses below differ in their row of the table only."""

    suffix = ".hef"
    Options = HailoOptions
    needs_calibration = True
    row: ClassVar[Device]

    def __init_subclass__(cls, *, device: str) -> None:
        """Take name and limits from the row called `device`."""
        cls.name = device
        cls.row = device_called(device)
        cls.spec = spec_of(cls.row)

    def check(self, model: Model) -> Sequence[Finding]:
        """Return everything that the device cannot run, of a network in float or in integers."""
        return findings(model, self.spec, self.row)

    def spread(self, model: Model, modes: Mapping[str, Precision]) -> Mapping[str, Precision]:
        """Return the modes with 16 bits given to everything that they bind.

        Raises:
            TargetError: 16 bits reach a matrix product that takes 8 only.
        """
        return spread(model, modes, self.spec, self.row)

    def emulator(self, model: Model, threads: int | None = None) -> Runnable:
        """Return the model in the integers of the device, on this machine's processor.

        Raises:
            TargetError: the model is not quantized, or the device cannot run it.
        """
        need_quantized(model, self.name)
        need_fit(model, self)
        arithmetic = self.spec.arithmetic
        assert arithmetic is not None
        network = to_integers(model, arithmetic, unsigned_weights=products_saturate())
        return Session(network, threads=threads)

    def need_compiler(self) -> None:
        """Raise TargetError unless Hailo's Dataflow Compiler is installed on this machine."""
        need_compiler(self.name)

    def compile(self, model: Model, calibration: Dataset | None = None) -> bytes:
        """Return the HEF that Hailo's Dataflow Compiler makes of the model."""
        lines = (FAST,) if self.options.performance else ()
        return compile_here(model, self.name, calibration, self.options.har, lines)

    def bundle(
        self, model: Model, folder: Path, calibration: Dataset | None = None
    ) -> Sequence[Path]:
        """Write what a machine with the Dataflow Compiler needs to make the HEF."""
        lines = (FAST,) if self.options.performance else ()
        return write_bundle(model, self.name, calibration, folder, lines)

    def device(self, model: Model, executable: Path | None = None) -> Runnable:
        """Return a runnable that runs the HEF on the device."""
        return HardwareRunner(model, executable, self.name)

    def for_speed(self, recipe: Recipe) -> Recipe:
        """Return the recipe with a line that has Hailo's compiler search for the fastest result."""
        return with_line(recipe, FAST)

    def layer_names(self, model: Model) -> Mapping[str, str]:
        """Return node name → the Dataflow Compiler's name of the layer."""
        return layer_names(model)


def need_quantized(model: Model, name: str) -> None:
    """See that a model is quantized.

    Raises:
        TargetError: it is not.
    """
    if model.stage.rank < Stage.QUANTIZED.rank:
        raise TargetError(
            f"{model.name} is {model.stage}; the emulator of {name} runs quantized models.",
            hint="Run `fewbits optimize` first, with calibration data.",
        )


class Hailo8(HailoTarget, device="hailo8"):
    """Hailo-8."""


class Hailo8R(HailoTarget, device="hailo8r"):
    """Hailo-8R."""


class Hailo8L(HailoTarget, device="hailo8l"):
    """Hailo-8L."""


class Hailo10H(HailoTarget, device="hailo10h"):
    """Hailo-10H."""


class Hailo15H(HailoTarget, device="hailo15h"):
    """Hailo-15H."""


class Hailo15M(HailoTarget, device="hailo15m"):
    """Hailo-15M."""


class Hailo15L(HailoTarget, device="hailo15l"):
    """Hailo-15L."""


class Hailo12L(HailoTarget, device="hailo12l"):
    """Hailo-12L."""
