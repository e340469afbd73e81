"""Arrays in files, of which only the rows asked for are ever in memory."""

from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray


class Samples(Protocol):
    """What a dataset needs of an array: a numpy array, or one that lies in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes, samples first."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""

    def __getitem__(self, rows: Any, /) -> Any:
        """Return rows as an array in memory."""


@dataclass(frozen=True)
class MappedArray:
    """An array that is mapped only while rows are copied out of it.

    A mapping that stays keeps every page that was ever read in the resident memory, so that it
    grows with the data; one for each access does not.

    Args:
        file: the file, or one that is open.
        offset: where the values begin, in bytes.
        shape: sizes of the axes, samples first.
        dtype: type of the values.
        order: `C`, or `F` for the first axis running fastest.
    """

    file: Path | IO[bytes]
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"]

    def __getitem__(self, rows: Any, /) -> NDArray[Any]:
        """Return a copy of these rows, in C order."""
        return np.array(self._mapped()[rows], order="C")

    def check(self) -> None:
        """Raise ValueError if the file is too short."""
        self._mapped()

    def _mapped(self) -> NDArray[Any]:
        return np.memmap(self.file, self.dtype, "r", self.offset, self.shape, self.order)


def map_npy(file: Path | IO[bytes], start: int) -> Samples:
    """Return the array in npy format that begins at byte `start` of a file.

    Raises:
        ValueError: it is no npy, holds Python objects, or is cut off.
        OSError: the file cannot be read.
    """
    if isinstance(file, Path):
        with file.open("rb") as stream:
            shape, fortran, dtype, offset = _header(stream, start)
    else:
        shape, fortran, dtype, offset = _header(file, start)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never loaded")
    if 0 in shape:
        return np.empty(shape, dtype)
    array = MappedArray(file, offset, shape, dtype, "F" if fortran else "C")
    array.check()
    return array


def _header(stream: IO[bytes], start: int) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    stream.seek(start)
    version = npy_format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = npy_format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran, dtype = npy_format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"npy format version {version} is for arrays with named fields")
    return shape, fortran, dtype, stream.tell()
