"""Datasets as streams of batches."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbits.preprocess import Preprocess


@dataclass(frozen=True)
class InputSpec:
    """One input that a network asks for.

    Args:
        name: the graph input's name.
        shape: its shape; None where a dimension is free (the batch).
        dtype: its numpy type.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Request:
    """What is asked of a dataset reader.

    Args:
        path: what the user typed: a folder, a file, `FILE.npz#key`.
        inputs: the network's inputs, in order.
        preprocess: how pictures become inputs; None when nothing was said.
        count: how many samples to take, from the start; None for all.
    """

    path: str
    inputs: tuple[InputSpec, ...]
    preprocess: Preprocess | None = None
    count: int | None = None


@dataclass(frozen=True)
class Batch:
    """Samples as the network takes them.

    Args:
        inputs: graph input name → array, batch first, as the network wants it.
        labels: int64 array of shape `(batch,)`, or None.
    """

    inputs: Mapping[str, NDArray[Any]]
    labels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


class Dataset(ABC):
    """A finite, ordered, repeatable stream of samples that does not hold them all in memory."""

    #: int64 labels of shape `(len(self),)`, or None.
    labels: NDArray[np.int64] | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples."""

    @abstractmethod
    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the samples in order, `size` at a time, the last batch possibly smaller."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return how to open it again, JSON-able: at least `path`, `count`, `digest`."""


class ArrayDataset(Dataset):
    """Arrays that are already in memory, one per input.

    Args:
        inputs: graph input name → array, batch first, as the network takes it.
        labels: int64 labels, or None.
    """

    def __init__(
        self, inputs: Mapping[str, NDArray[Any]], labels: NDArray[np.int64] | None = None
    ) -> None:
        self.inputs = dict(inputs)
        self.labels = labels

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield slices of the arrays; nothing is copied."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            labels = None if self.labels is None else self.labels[part]
            yield Batch({name: array[part] for name, array in self.inputs.items()}, labels)

    def describe(self) -> dict[str, Any]:
        """Say that the samples were given in memory, with their digest."""
        digest = hashlib.sha256()
        for name, array in sorted(self.inputs.items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return {"path": "", "count": len(self), "digest": digest.hexdigest()}
