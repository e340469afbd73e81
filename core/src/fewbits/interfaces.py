"""What a plugin's components look like: small base classes with one or two methods to write.

Here stand frontends and the steps of a recipe; the others are taken in from beside, so that one
import serves a plugin.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np

from fewbits.configurable import Configurable
from fewbits.data import Dataset
from fewbits.errors import DataError
from fewbits.measuring import Accumulator, DatasetReader, Evaluator
from fewbits.model import Model, Stage
from fewbits.named import ModelInfo, NamedModel
from fewbits.provenance import Report
from fewbits.reporting import Progress, silent
from fewbits.scripts import Script, ScriptReader
from fewbits.targets import Finding, Runnable, Target, TargetSpec

__all__ = [
    "Accumulator",
    "Algorithm",
    "Configurable",
    "Context",
    "DatasetReader",
    "Evaluator",
    "Finding",
    "Frontend",
    "ModelInfo",
    "NamedModel",
    "Progress",
    "Quantizer",
    "Result",
    "Runnable",
    "Script",
    "ScriptReader",
    "Target",
    "TargetSpec",
    "silent",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """What a step gets besides the model; there are no globals.

    Args:
        target: the hardware target that the result is for.
        calibration: unlabelled samples, or None.
        seed: the run's seed.
        rng: this step's own generator, derived from the seed and the step's place.
        progress: to be called as `progress(label, done, total, unit)`.
        threads: how many threads to use; None lets the runtime choose.
        batch_size: samples per run of the network.
        work: a folder that outlives an interruption, for what a long step needs to go on from
            when the run is resumed; it need not exist yet. None when the run keeps nothing.
        held_out: samples that no step of the run calibrates on, to judge by; None where no step
            of the run asked for any (`Algorithm.holds_out`).
    """

    target: "Target"
    calibration: Dataset | None = None
    seed: int = 0
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    progress: Progress = silent
    threads: int | None = None
    batch_size: int = 4
    work: Path | None = None
    held_out: Dataset | None = None

    def need_calibration(self, who: str) -> Dataset:
        """Return the calibration data.

        Raises:
            DataError: there is none; the message names `who` asked.
        """
        if self.calibration is None:
            raise DataError(
                f"{who} needs calibration data, and none was given.",
                hint="Add --calib-path with a folder of images or an npy/npz file.",
            )
        return self.calibration

    def track(self, items: Iterable[T], label: str, total: int | None, unit: str) -> Iterator[T]:
        """Yield `items`, reporting progress after each (a Batch counts its samples)."""
        done = 0
        self.progress(label, 0, total, unit)
        for item in items:
            yield item
            done += len(item) if hasattr(item, "__len__") else 1
            self.progress(label, done, total, unit)


class Frontend(Configurable, ABC):
    """Reads a file into a Model at stage `parsed`.

    `suffixes` are the file endings it claims, with the dot. Options that the command line's
    parse flags fill: `start_node_names`, `end_node_names`, `input_shape`.
    """

    suffixes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def parse(self, path: Path) -> Model:
        """Read `path`.

        Raises:
            ModelError: with the node, the op and the remedy.
        """


@dataclass(frozen=True)
class Result:
    """What a step returns: the new model and the account of it."""

    model: Model
    report: Report


class Algorithm(Configurable, ABC):
    """Changes a model and says what it did.

    `stage` is what the model is afterwards: `OPTIMIZED` for full-precision passes, `QUANTIZED`
    for passes that work on a quantized model. `float_tolerance` is the relative difference of
    the float outputs that the pass promises to stay below; None promises nothing. Where options
    decide, `__init__` may set `needs_calibration` and `float_tolerance` on the instance.
    `requires` names the modules that it imports only when it runs, each with what installs it; a
    recipe with such a step is refused before anything runs where one is missing. `holds_out` is
    the number of samples it wants to judge by, which no step of the run is to calibrate on.

    `edits` is for a step that changes on purpose what goes in (`inputs`: sizes, layout, range,
    and `model.preprocess` with them) or what comes out (`outputs`); names stay. It gets no
    calibration data. Whatever such a model is compared with gets the same edit
    (`fewbits.edits`), so it must depend on its options and the model alone.
    """

    stage: ClassVar[Stage] = Stage.OPTIMIZED
    edits: ClassVar[Literal["", "inputs", "outputs"]] = ""
    needs_calibration: bool = False
    float_tolerance: float | None = None
    requires: ClassVar[Mapping[str, str]] = {}
    holds_out: int = 0

    def options_before(self, following: Sequence["Algorithm"]) -> Mapping[str, Any]:
        """Return options that this step takes over from later ones; by default none.

        It is for options that the user left open. They are settled before anything runs, and the
        history records them, so that a replay needs no recipe.

        Args:
            following: the steps behind this one in the recipe, in order.

        Returns:
            Option → value, JSON-able.
        """
        return {}

    @abstractmethod
    def apply(self, model: Model, context: Context) -> Result:
        """Return a new model and a report; never change `model`.

        Raises:
            FewbitsError: when it cannot run on this model, target or machine; names the layer
                and the remedy. A layer that is left alone stands in the report with the reason.
        """


class Quantizer(Algorithm, ABC):
    """Chooses an encoding for every tensor, within the target's limits.

    The result is at stage `quantized`: weights and biases lie on their grids, `encodings`
    names every quantized tensor, `precisions` every layer.
    """

    stage: ClassVar[Stage] = Stage.QUANTIZED
    needs_calibration = True
