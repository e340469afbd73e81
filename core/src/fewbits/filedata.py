"""The base of datasets that lie in files and can be read in any order."""

import copy
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fewbits.data import Dataset, InputSpec, Request, checked_rows
from fewbits.labels import Labels
from fewbits.preprocess import Preprocess

SourceT = TypeVar("SourceT", bound="FileDataset")


class FileDataset(Dataset):
    """Base of datasets in files with random access: keeps which rows of the files are meant.

    Subclasses write `batches` over `self.rows`, and `content_digest`.

    Args:
        request: what was asked; its count has been checked.
        reader: the reader's name, to open the data again.
        rows: row numbers in the files.
        labels: the labels of these rows, or None.
    """

    def __init__(
        self,
        request: Request,
        reader: str,
        rows: NDArray[np.int64],
        labels: Labels | None,
    ) -> None:
        self.request = request
        self.reader = reader
        self.rows = rows
        self.labels = labels

    def __len__(self) -> int:
        return len(self.rows)

    @abstractmethod
    def content_digest(self) -> str:
        """Return the sha256 of what the samples are made from, in hex, without decoding it."""

    @cached_property
    def digest(self) -> str:
        """The content's digest, computed once."""
        return self.content_digest()

    def select(self: SourceT, indices: Sequence[int] | NDArray[np.integer]) -> SourceT:
        """Return the samples at `indices`, in that order; nothing is read yet."""
        chosen = checked_rows(indices, len(self))
        part = copy.copy(self)
        part.__dict__.pop("digest", None)
        part.rows = self.rows[chosen]
        part.labels = None if self.labels is None else self.labels[chosen]
        return part

    def fitted(
        self: SourceT, inputs: tuple[InputSpec, ...], preprocess: Preprocess | None
    ) -> SourceT:
        """Return the same samples, made from the same files for other inputs.

        Raises:
            DataError: they do not fit these inputs.
        """
        request = replace(self.request, inputs=inputs, preprocess=preprocess)
        return self if request == self.request else self.reopened(request)

    def reopened(self: SourceT, request: Request) -> SourceT:
        """Return a copy for another request of the same path; override it to check the fit."""
        other = copy.copy(self)
        other.request = request
        return other

    def describe(self) -> dict[str, Any]:
        """Return path, count, reader, preprocess and digest; rows where they are not the first."""
        said = self.request.preprocess
        about = {
            "path": self.request.path,
            "count": len(self),
            "reader": self.reader,
            "preprocess": "" if said is None else said.to_text(),
            "digest": self.digest,
        }
        first = np.array_equal(self.rows, np.arange(len(self)))
        return about if first else {**about, "rows": self.rows.tolist()}
