"""The targets: one class for eight devices, each a row of the table in `devices`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from fewbits.data import Dataset
from fewbits.emulate import to_qdq
from fewbits.interfaces import Finding, Runnable, Target, TargetSpec
from fewbits.model import Model, Precision
from fewbits.options import Options
from fewbits.recipe import Recipe
from fewbits.runtime import Session
from pydantic import Field

from fewbits_hailo.devices import Device, device_called
from fewbits_hailo.dfc import compile_here, need_compiler, write_bundle
from fewbits_hailo.hardware import HardwareRunner
from fewbits_hailo.layernames import layer_names
from fewbits_hailo.script.step import with_line

#: what `hailomz --performance` adds to a model script.
FAST = "performance_param(compiler_optimization_level=max)"


class HailoOptions(Options):
    """Options of every Hailo target."""

    har: Path | None = Field(
        None,
        exclude=True,
        description="Where the compiler's own archive is kept when a HEF is made.",
    )


class HailoTarget(Target):
    """A Hailo device; the subclasses below differ in their row of the table only."""

    suffix = ".hef"
    Options = HailoOptions
    needs_calibration = True
    row: ClassVar[Device]
    spec = TargetSpec(
        precisions=frozenset(map(Precision.parse, ("a8_w8", "a8_w4", "a16_w16"))),
        float_ops=False,
    )

    def __init_subclass__(cls, *, device: str) -> None:
        """Take name and limits from the row called `device`."""
        cls.name = device
        cls.row = device_called(device)

    def check(self, model: Model) -> Sequence[Finding]:
        """Return everything that the device cannot run."""
        return []

    def emulator(self, model: Model, threads: int | None = None) -> Runnable:
        """Return the model with the device's numerics, on this machine's processor."""
        return Session(to_qdq(model), threads=threads)

    def need_compiler(self) -> None:
        """Raise TargetError unless Hailo's Dataflow Compiler is installed on this machine."""
        need_compiler(self.name)

    def compile(self, model: Model, calibration: Dataset | None = None) -> bytes:
        """Return the HEF that Hailo's Dataflow Compiler makes of the model."""
        return compile_here(model, self.name, calibration, self.options.har)

    def bundle(
        self, model: Model, folder: Path, calibration: Dataset | None = None
    ) -> Sequence[Path]:
        """Write what a machine with the Dataflow Compiler needs to make the HEF."""
        return write_bundle(model, self.name, calibration, folder)

    def device(self, model: Model, executable: Path | None = None) -> Runnable:
        """Return a runnable that runs the HEF on the device."""
        return HardwareRunner(model, executable, self.name)

    def for_speed(self, recipe: Recipe) -> Recipe:
        """Return the recipe with a line that has Hailo's compiler search for the fastest result."""
        return with_line(recipe, FAST)

    def layer_names(self, model: Model) -> Mapping[str, str]:
        """Return node name → the Dataflow Compiler's name of the layer."""
        return layer_names(model)


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
