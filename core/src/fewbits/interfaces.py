"""What a plugin's components look like: small base classes with one or two methods to write."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from fewbits.configurable import Configurable
from fewbits.data import Dataset, Request
from fewbits.errors import DataError
from fewbits.model import Model, Stage
from fewbits.preprocess import Preprocess
from fewbits.provenance import Report
from fewbits.targets import Finding, Runnable, Target, TargetSpec

if TYPE_CHECKING:
    from fewbits.recipe import Recipe

__all__ = [
    "Accumulator",
    "Algorithm",
    "Configurable",
    "Context",
    "DatasetReader",
    "Evaluator",
    "Finding",
    "Frontend",
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

Progress = Callable[[str, int, int | None, str], None]
T = TypeVar("T")


def silent(label: str, done: int, total: int | None, unit: str) -> None:
    """Report progress to nobody."""


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
    """

    stage: ClassVar[Stage] = Stage.OPTIMIZED
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


class Accumulator(ABC):
    """Running totals of an evaluator; `merge(a, b)` equals having seen both parts."""

    @abstractmethod
    def update(
        self,
        outputs: Mapping[str, NDArray[Any]],
        labels: NDArray[np.int64] | None,
        reference: Mapping[str, NDArray[Any]] | None,
    ) -> None:
        """Take in one batch: outputs by name, its labels, the float model's outputs."""

    @abstractmethod
    def merge(self, other: "Accumulator") -> None:
        """Take in all that `other` has seen."""

    @abstractmethod
    def result(self) -> dict[str, float]:
        """Return metric name → value; empty names are not allowed, NaN is."""


class Evaluator(Configurable, ABC):
    """Turns predictions, and labels or a reference, into named metrics.

    `needs_labels` and `needs_reference` say what `update` must be given; `headline` is the
    metric that stands for the result where only one can be shown, `units` the unit of each.
    """

    needs_labels: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = False
    headline: ClassVar[str]
    units: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def accumulator(self) -> Accumulator:
        """Return fresh running totals."""


class DatasetReader(Configurable, ABC):
    """Opens a path as a Dataset."""

    @abstractmethod
    def accepts(self, path: str) -> bool:
        """Say, from name and kind of file alone, whether this reader is for `path`."""

    @abstractmethod
    def open(self, request: Request) -> Dataset:
        """Open `request.path` for the network's inputs.

        Raises:
            DataError: nothing there, unreadable, of the wrong size, fewer than asked.
        """


class Script(ABC):
    """What an optimization script of another tool comes to for one model.

    `optimization_level` and `compression_level` are what it names, None where it names none;
    `warnings` are the lines that were left out because the user asked for leniency.
    """

    optimization_level: int | None = None
    compression_level: int | None = None
    warnings: Sequence[str] = ()

    @abstractmethod
    def adapt(self, recipe: "Recipe") -> "Recipe":
        """Return what the script makes of the recipe that the levels stand for.

        Raises:
            RecipeError: the script and the recipe do not go together; says which line.
        """


class ScriptReader(Configurable, ABC):
    """Reads optimization scripts of another tool; `suffixes` are the endings, with the dot."""

    suffixes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def read(self, path: Path, model: Model, target: Target, *, lenient: bool = False) -> Script:
        """Read a script.

        Args:
            path: the script.
            model: the network that it is for; layers are looked up in it.
            target: the hardware target, which knows its own names of the layers.
            lenient: leave out what is not known or cannot be done here, with a warning per line.

        Raises:
            RecipeError: a line that cannot be read or done; with line, column and remedy.
        """


class NamedModel(ABC):
    """A network known by name, with its data and the recipe that suits it."""

    name: ClassVar[str]

    @abstractmethod
    def network(self) -> Path:
        """Return the path of the network's file, fetching it if need be."""

    @abstractmethod
    def preprocess(self) -> Preprocess | None:
        """Return how pictures become inputs."""

    @abstractmethod
    def calibration(self) -> str:
        """Return the path of unlabelled samples."""

    @abstractmethod
    def evaluation(self) -> str:
        """Return the path of labelled samples."""
