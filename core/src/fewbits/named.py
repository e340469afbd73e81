"""What a plugin writes to offer a network by name: the file, its data, what is known of it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fewbits.preprocess import Preprocess
from fewbits.reporting import Progress, silent

if TYPE_CHECKING:
    from fewbits.recipe import Recipe


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a named network; what is not known stays empty.

    Args:
        task: what it does, such as `classification`.
        framework: what it was trained with.
        data: what it was trained and is measured on.
        metric: what `full_precision` counts, such as `top-1`.
        full_precision: what the float network reaches by `source`, in `unit`; None if unknown.
        unit: of `full_precision`.
        source: where the network comes from.
        licence: under which terms; an SPDX identifier where there is one.
        note: a caveat, such as that it was never tried here.
    """

    task: str = ""
    framework: str = ""
    data: str = ""
    metric: str = ""
    full_precision: float | None = None
    unit: str = "%"
    source: str = ""
    licence: str = ""
    note: str = ""


class NamedModel(ABC):
    """A network known by name, with its data and the recipe that suits it.

    What the user says on the command line wins over every one of these.
    """

    name: ClassVar[str]

    @abstractmethod
    def network(self, progress: Progress = silent) -> Path:
        """Return the path of the network's file, fetching it if need be.

        Args:
            progress: told how far a download is.

        Raises:
            FewbitsError: it is not here and cannot be fetched; says how to go on.
        """

    @abstractmethod
    def preprocess(self) -> Preprocess | None:
        """Return how pictures become inputs; None where inputs are no pictures."""

    def reading(self) -> Mapping[str, Any]:
        """Return options of the frontend, such as `end_node_names`; by default none."""
        return {}

    def calibration(self) -> str | None:
        """Return the path of unlabelled samples; None where none come with it."""
        return None

    def evaluation(self) -> str | None:
        """Return the path of labelled samples; None where none come with it."""
        return None

    def evaluators(self) -> Sequence[str]:
        """Return what measures it, as typed behind `--evaluator`; by default what the data says."""
        return ()

    def recipe(self) -> "Recipe | None":
        """Return the steps that suit it best; None leaves them to the levels."""
        return None

    def info(self) -> ModelInfo:
        """Return what is known of it."""
        return ModelInfo()
