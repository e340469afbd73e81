"""Datasets as streams of batches."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fewbits.errors import DataError
from fewbits.labels import Labels
from fewbits.preprocess import Preprocess

if TYPE_CHECKING:
    from fewbits.model import Model


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

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether samples of `shape`, batch first, can go in; the batch may have any size."""
        wanted = self.shape[1:]
        return len(shape) == len(self.shape) and all(
            w is None or w == s for w, s in zip(wanted, shape[1:], strict=True)
        )

    def __str__(self) -> str:
        dims = ", ".join("?" if d is None else str(d) for d in self.shape[1:])
        return f"'{self.name}' {self.dtype} (batch, {dims})"


def input_specs_of(model: "Model") -> tuple[InputSpec, ...]:
    """Return what the model's graph asks for, in order; free dimensions are None."""
    specs = []
    for value in model.graph.inputs:
        if value.name in model.graph.initializers:
            continue
        dims = () if value.shape is None else tuple(value.shape)
        shape = tuple(d if isinstance(d, int) and d > 0 else None for d in dims)
        dtype = np.dtype(np.float32) if value.dtype is None else np.dtype(value.dtype.numpy())
        specs.append(InputSpec(str(value.name), shape, dtype))
    return tuple(specs)


@dataclass(frozen=True)
class Request:
    """What is asked of a dataset reader.

    Args:
        path: what the user typed: a folder, a file, `FILE.npz#key`.
        inputs: the network's inputs, in order.
        preprocess: how pictures become inputs; None when nothing was said.
        count: how many samples to take, from the start; None for all.
        labelled: whether labels are of use; where not, as for calibration, a reader may leave them
            out, and must not fail for want of them.
        skip_bad: leave out samples that cannot be read, and list the reasons under `skipped` in
            what `describe` returns, instead of stopping.
    """

    path: str
    inputs: tuple[InputSpec, ...]
    preprocess: Preprocess | None = None
    count: int | None = None
    labelled: bool = True
    skip_bad: bool = False


@dataclass(frozen=True)
class Batch:
    """Samples as the network takes them.

    Args:
        inputs: graph input name → array, batch first, as the network wants it.
        labels: one a sample, `(batch,)` (`fewbits.labels`), or None.
    """

    inputs: Mapping[str, NDArray[Any]]
    labels: Labels | None = None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


class Dataset(ABC):
    """A finite, ordered, repeatable stream of samples that does not hold them all in memory."""

    #: one label a sample, `(len(self),)`: int64 classes or objects (`fewbits.labels`); or None.
    labels: Labels | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples."""

    @abstractmethod
    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the samples in order, `size` at a time, the last batch possibly smaller."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return how to open it again, JSON-able: at least `path`, `count`, `digest`."""

    def select(self, indices: Sequence[int] | NDArray[np.integer]) -> "Dataset":
        """Return the samples at `indices` as a dataset; nothing is read yet.

        A dataset with random access takes any order; the others take rising indices only.

        Raises:
            DataError: an index is out of range, or does not rise where it must.
        """
        return Subset(self, indices)

    def fitted(self, inputs: tuple[InputSpec, ...], preprocess: Preprocess | None) -> "Dataset":
        """Return the same samples for a network whose inputs have been edited.

        Pictures are brought to what it takes now. Numbers that go in as they are stay as they
        are: they are taken to be for the edited network. By default nothing changes.

        Args:
            inputs: what the network asks for now.
            preprocess: how pictures become its inputs now.

        Raises:
            DataError: the samples do not fit the network.
        """
        return self


class ArrayDataset(Dataset):
    """Arrays that are already in memory, one per input.

    Args:
        inputs: graph input name → array, batch first, as the network takes it.
        labels: one a sample, or None.
    """

    def __init__(self, inputs: Mapping[str, NDArray[Any]], labels: Labels | None = None) -> None:
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

    def select(self, indices: Sequence[int] | NDArray[np.integer]) -> "ArrayDataset":
        """Return a dataset of copies of these samples."""
        rows = checked_rows(indices, len(self))
        labels = None if self.labels is None else self.labels[rows]
        return ArrayDataset({name: array[rows] for name, array in self.inputs.items()}, labels)

    def describe(self) -> dict[str, Any]:
        """Say that the samples were given in memory, with their digest."""
        digest = hashlib.sha256()
        for name, array in sorted(self.inputs.items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return {"path": "", "count": len(self), "digest": digest.hexdigest()}


def take(dataset: Dataset, count: int) -> Dataset:
    """Return the first `count` samples.

    Raises:
        DataError: there are fewer.
    """
    return dataset.select(first_rows(len(dataset), count, "The data"))


def first_rows(length: int, count: int | None, name: str) -> NDArray[np.int64]:
    """Return the first `count` row numbers of `length`; all of them when `count` is None.

    Raises:
        DataError: there are fewer, none at all, or none were asked for.
    """
    if length == 0:
        raise DataError(f"{name} holds no samples.", hint="Give data with at least one sample.")
    if count is not None and count < 1:
        raise DataError(f"{count} samples of {name} were asked for.", hint="Ask for one or more.")
    if count is not None and count > length:
        raise DataError(
            f"{name} holds {length} samples, fewer than the {count} asked for.",
            hint=f"Ask for {length} at most, or leave the count out to take all.",
        )
    return np.arange(length if count is None else count, dtype=np.int64)


def checked_rows(indices: Sequence[int] | NDArray[np.integer], length: int) -> NDArray[np.int64]:
    """Return `indices` as an array.

    Raises:
        DataError: one of them is not in `0 .. length − 1`.
    """
    rows = np.asarray(indices, np.int64).reshape(-1)
    outside = rows[(rows < 0) | (rows >= length)]
    if len(outside):
        raise DataError(
            f"Sample {outside[0]} was selected of data with {length} samples.",
            hint=f"Samples are numbered 0 to {length - 1}.",
        )
    return rows


class Subset(Dataset):
    """Some samples of a dataset that can only be streamed, picked out as they go by.

    Args:
        parent: the whole dataset.
        indices: which samples, rising.
    """

    def __init__(self, parent: Dataset, indices: Sequence[int] | NDArray[np.integer]) -> None:
        self.parent = parent
        self.rows = checked_rows(indices, len(parent))
        if np.any(np.diff(self.rows) <= 0):
            raise DataError(
                "The selected samples do not rise, and this data can only be streamed in order.",
                hint="Sort the indices and take each once.",
            )
        self.labels = None if parent.labels is None else parent.labels[self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the selected samples in order, reading the parent once."""
        held: list[Batch] = []
        start = 0
        for batch in self.parent.batches(size):
            inside = self.rows[(self.rows >= start) & (self.rows < start + len(batch))] - start
            start += len(batch)
            if len(inside):
                held.append(_pick(batch, inside))
            while sum(map(len, held)) >= size:
                whole = _join(held)
                yield _pick(whole, slice(0, size))
                held = [_pick(whole, slice(size, None))]
        if sum(map(len, held)):
            yield _join(held)

    def fitted(self, inputs: tuple[InputSpec, ...], preprocess: Preprocess | None) -> Dataset:
        """Return the same rows of what the parent becomes."""
        parent = self.parent.fitted(inputs, preprocess)
        return self if parent is self.parent else Subset(parent, self.rows)

    def describe(self) -> dict[str, Any]:
        """Describe the parent, the rows taken, and the digest of both."""
        whole = self.parent.describe()
        rows = self.rows.tolist()
        digest = hashlib.sha256(f"{whole.get('digest', '')}{rows}".encode()).hexdigest()
        return {**whole, "count": len(rows), "rows": rows, "digest": digest}


def _pick(batch: Batch, rows: NDArray[np.int64] | slice) -> Batch:
    labels = None if batch.labels is None else batch.labels[rows]
    return Batch({name: array[rows] for name, array in batch.inputs.items()}, labels)


def _join(batches: Sequence[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    labels = [b.labels for b in batches if b.labels is not None]
    inputs = {name: np.concatenate([b.inputs[name] for b in batches]) for name in batches[0].inputs}
    return Batch(inputs, np.concatenate(labels) if labels else None)


def parted(dataset: Dataset, holds_out: int) -> tuple[Dataset, Dataset | None]:
    """Return the samples to calibrate on, and those that are held out, evenly spaced.

    Args:
        dataset: all samples.
        holds_out: how many to hold out; a quarter at most.
    """
    count = min(holds_out, len(dataset) // 4)
    if not count:
        return dataset, None
    held = np.linspace(0, len(dataset) - 1, count).round().astype(np.int64)
    rest = np.setdiff1d(np.arange(len(dataset)), held)
    return dataset.select(rest), dataset.select(held)
