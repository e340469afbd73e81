"""What a plugin writes to measure models: readers of data, evaluators with their totals."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from numpy.typing import NDArray

from fewbits.configurable import Configurable
from fewbits.data import Dataset, Request
from fewbits.labels import Labels, called, kind_of


class Accumulator(ABC):
    """Running totals of an evaluator; `merge(a, b)` equals having seen both parts."""

    @abstractmethod
    def update(
        self,
        outputs: Mapping[str, NDArray[Any]],
        labels: Labels | None,
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

    `needs_labels` and `needs_reference` say what `update` must be given, `label_kind` of what
    type each label is: `int` for class indices, or a type of `fewbits.labels`. `headline` is the
    metric that stands for the result where only one can be shown, `units` the unit of each.
    """

    needs_labels: ClassVar[bool] = False
    label_kind: ClassVar[type] = int
    needs_reference: ClassVar[bool] = False
    headline: ClassVar[str]
    units: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def accumulator(self) -> Accumulator:
        """Return fresh running totals."""

    def lacks(self, labels: Labels | None) -> str:
        """Say which labels it needs and data with `labels` has not; empty if nothing is amiss."""
        if not self.needs_labels or (labels is not None and kind_of(labels) is self.label_kind):
            return ""
        had = "none" if labels is None else called(kind_of(labels))
        return f"{self.name} needs labels ({called(self.label_kind)}), and the data has {had}"


class DatasetReader(Configurable, ABC):
    """Opens a path as a Dataset.

    Where several readers claim a path, those that are not `general` go before those that are.
    `skips_bad` says that it heeds `Request.skip_bad`; the others are not asked to.
    """

    general: ClassVar[bool] = False
    skips_bad: ClassVar[bool] = False

    @abstractmethod
    def accepts(self, path: str) -> bool:
        """Say, from name and kind of file alone, whether this reader is for `path`."""

    @abstractmethod
    def open(self, request: Request) -> Dataset:
        """Open `request.path` for the network's inputs.

        Raises:
            DataError: nothing there, unreadable, of the wrong size, fewer than asked.
        """
