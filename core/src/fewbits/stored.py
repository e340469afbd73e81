"""Activations that a walk holds: in memory up to a budget, in temporary files beyond it."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbits.errors import DataError, ModelError
from fewbits.model import Encoding


class Store:
    """Room for tensors: memory first, files in a folder of its own for what does not fit.

    Args:
        budget: bytes of memory.
        folder: where the temporary folder is made; the system's by default.

    A context manager: on leaving, whatever happened, the folder is gone.
    """

    def __init__(self, budget: int, folder: Path | None = None) -> None:
        self.budget = budget
        self.held = 0
        self.peak = 0
        self.spilled = 0
        self._parent = folder
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._files = 0

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary folder."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def room(self, count: int, dtype: np.dtype[Any]) -> tuple[NDArray[Any], Callable[[], None]]:
        """Return an array of `count` numbers, and what gives its memory back.

        Raises:
            DataError: neither the memory nor the disk has room for it.
        """
        size = count * dtype.itemsize
        if self.held + size > self.budget:
            self.spilled += size
            return self._file(count, dtype), lambda: None
        self.held += size
        self.peak = max(self.peak, self.held)
        return np.empty(count, dtype), lambda: self._give_back(size)

    def _give_back(self, size: int) -> None:
        self.held -= size

    def _file(self, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array in a file that is gone as soon as nobody holds the array."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(
                prefix="fewbits-", dir=self._parent, ignore_cleanup_errors=True
            )
        self._files += 1
        path = Path(self._folder.name) / str(self._files)
        try:
            with path.open("wb") as file:  # a hole in a file would only show when it is written to
                _reserve(file.fileno(), max(count, 1) * dtype.itemsize)
            array = np.memmap(path, dtype, mode="r+", shape=(max(count, 1),))
        except OSError as error:
            raise DataError(
                f"Activations of {count * dtype.itemsize / 2**20:,.0f} MB fit neither into"
                f" {self.budget / 2**20:,.0f} MB of memory nor on the disk of"
                f" {self._folder.name}: {error}.",
                hint="Take fewer samples, or set TMPDIR to a folder with more room.",
            ) from error
        with suppress(OSError):  # the mapping lives on; where this fails, `close` removes it
            path.unlink()
        return array[:count]


def _reserve(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)


class Tensor:
    """One tensor's values over all samples, batch by batch.

    Args:
        name: for messages.
        store: gives the room.
        sizes: number of samples in each batch.
    """

    def __init__(self, name: str, store: Store, sizes: Sequence[int]) -> None:
        self.name = name
        self.sizes = tuple(sizes)
        self.starts = tuple(int(s) for s in np.cumsum([0, *sizes]))
        self._store = store
        self._shapes: dict[int, tuple[int, ...]] = {}
        self._flat: NDArray[Any] | None = None
        self._each = 0
        self._odd: dict[int, NDArray[Any]] = {}
        self._release: Callable[[], None] = lambda: None

    def put(self, index: int, array: NDArray[Any]) -> None:
        """Keep the values of a batch."""
        if self._flat is None and array.size % self.sizes[index] == 0:
            self._each = array.size // self.sizes[index]
            self._flat, self._release = self._store.room(self._each * self.starts[-1], array.dtype)
        if self._flat is None or array.size != self._each * self.sizes[index]:
            self._odd[index] = array  # no batch axis: small, computed from shapes
            return
        self._shapes[index] = array.shape
        self._part(index)[:] = array.reshape(-1)

    def get(self, index: int) -> NDArray[Any]:
        """Return the values of a batch, not to be written to."""
        if index in self._odd:
            return self._odd[index]
        return self._part(index).reshape(self._shapes[index])

    def rows(self, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[Any]:
        """Return the values of some samples, in any order, as one batch.

        Raises:
            ModelError: the tensor's first axis is not the batch, or a multiple of it.
        """
        shape = self._shapes.get(0, ())
        if self._flat is None or self._odd or not shape or shape[0] % self.sizes[0]:
            raise ModelError(
                f"Tensor '{self.name}' does not begin with the batch axis, so that single samples"
                " cannot be taken from it.",
                hint="Export the network with the batch as the first axis of its tensors.",
            )
        per_sample = shape[0] // self.sizes[0]
        table = self._flat.reshape(self.starts[-1], self._each)
        return np.asarray(table[indices]).reshape(per_sample * len(indices), *shape[1:])

    def free(self) -> None:
        """Give the room back."""
        self._flat = None
        self._odd.clear()
        self._release()
        self._release = lambda: None

    def _part(self, index: int) -> NDArray[Any]:
        assert self._flat is not None
        first, last = self.starts[index], self.starts[index + 1]
        return self._flat[first * self._each : last * self._each]


class Activations:
    """A layer's input over all samples, as its branch of the walk holds it.

    Args:
        tensor: integers in the quantized branch, float32 in the float branch.
        encoding: what the integers stand for; None where they are real values.
    """

    def __init__(self, tensor: Tensor, encoding: Encoding | None) -> None:
        self.encoding = encoding
        self._tensor = tensor

    def __len__(self) -> int:
        """Return the number of samples."""
        return self._tensor.starts[-1]

    def batches(self) -> Iterator[NDArray[Any]]:
        """Yield the values as they are stored, batch by batch, in order; not to be written to."""
        yield from (self._tensor.get(index) for index in range(len(self._tensor.sizes)))

    def rows(self, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[Any]:
        """Return some samples' values as they are stored, in the order of `indices`.

        Raises:
            ModelError: the tensor does not begin with the batch axis.
        """
        return self._tensor.rows(indices)

    def real(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Return the real values that stored ones stand for, as the runtime computes them."""
        return as_real(stored, self.encoding)


def as_real(stored: NDArray[Any], encoding: Encoding | None) -> NDArray[np.float32]:
    """Return `(q − zero_point) · scale` in float32, as the runtime computes it.

    Args:
        stored: integers of a tensor with one scale, or real values if there is no encoding.
        encoding: what they stand for.
    """
    if encoding is None:
        return np.asarray(stored, np.float32)
    centered = stored.astype(np.float32)
    centered -= np.float32(encoding.zero_point)
    centered *= encoding.scale
    return centered
