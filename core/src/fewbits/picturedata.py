"""Pictures in files as a stream of network inputs: what readers of pictures have in common."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbits.data import Batch, InputSpec, Request, first_rows
from fewbits.errors import DataError
from fewbits.filedata import FileDataset
from fewbits.labels import Labels
from fewbits.pictures import decode
from fewbits.preprocess import EXAMPLE, Preprocess
from fewbits.readahead import cores, read_ahead


class PictureDataset(FileDataset):
    """Pictures of a folder, decoded in threads a little ahead of whoever reads them.

    Args:
        request: what was asked.
        reader: the reader's name, with its options as `NAME:option=value` (`str(Step)`).
        folder: what the files' names are relative to.
        files: the pictures, with forward slashes.
        labels: one for each of `files`, or None.
        workers: number of decoding threads; 0 for one a core.
        skipped: of each picture that was left out, the reason.

    Raises:
        DataError: the network has several inputs, nothing was said about preprocessing, the
            preprocessing gives a size that the network does not take, or there are fewer pictures
            than were asked for.
    """

    def __init__(
        self,
        request: Request,
        reader: str,
        folder: Path,
        files: Sequence[str],
        *,
        labels: Labels | None = None,
        workers: int = 0,
        skipped: Sequence[str] = (),
    ) -> None:
        preprocess = fitting(request)
        rows = first_rows(len(files), request.count, request.path)
        super().__init__(request, reader, rows, None if labels is None else labels[rows])
        self.folder = folder
        self.files = tuple(files)
        self.skipped = tuple(skipped)
        self.preprocess = preprocess
        self.workers = workers or min(cores(), 16)
        self._hashes: dict[int, bytes] = {}

    def batches(self, size: int) -> Iterator[Batch]:
        """Decode in threads, at most two pictures a thread ahead of what is asked for.

        A longer lead gains nothing on a CPU that also runs the network, and would take cores
        from a network whose speed is being measured.
        """
        (spec,) = self.request.inputs
        arrays = read_ahead(
            self._read, self.rows.tolist(), workers=self.workers, window=2 * self.workers
        )
        held: list[NDArray[Any]] = []
        start = 0
        try:
            for array in arrays:
                held.append(array)
                if len(held) == size or start + len(held) == len(self):
                    labels = None if self.labels is None else self.labels[start : start + size]
                    start += len(held)
                    batch = Batch({spec.name: _stacked(held, self.request.path)}, labels)
                    held.clear()
                    yield batch
        finally:
            arrays.close()

    def reopened(self, request: Request) -> "PictureDataset":
        """Return the same pictures for another input or preprocessing.

        Raises:
            DataError: there is more than one input, no preprocessing, or another size.
        """
        other = super().reopened(request)
        other.preprocess = fitting(request)
        return other

    def describe(self) -> dict[str, Any]:
        """Add what was left out, with the reasons."""
        about = super().describe()
        return {**about, "skipped": list(self.skipped)} if self.skipped else about

    def content_digest(self) -> str:
        """Hash names and files' bytes; files that were decoded before are not read again."""
        digest = hashlib.sha256()
        for row in self.rows.tolist():
            if row not in self._hashes:
                self._bytes(row)
            digest.update(self.files[row].encode() + b"\0" + self._hashes[row])
        return digest.hexdigest()

    def _bytes(self, row: int) -> bytes:
        path = self.folder / self.files[row]
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"{path} cannot be read: {error.strerror}.", hint="Check the file and its rights."
            ) from error
        self._hashes[row] = hashlib.sha256(data).digest()
        return data

    def _read(self, row: int) -> NDArray[Any]:
        name = str(self.folder / self.files[row])
        image = decode(self._bytes(row), name, grey=self.preprocess.channels == "GRAY")
        array = self.preprocess.apply(image, name)
        (spec,) = self.request.inputs
        if not spec.fits((1, *array.shape)):
            raise _misfit(f"{name} ({image.height}x{image.width})", array.shape, spec)
        return array.astype(spec.dtype, copy=False)


def fault_of(path: Path) -> str:
    """Return why a picture cannot be read; empty if it can."""
    try:
        decode(path.read_bytes(), str(path))
    except DataError as error:
        return error.message
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}."
    return ""


def faults_of(paths: Sequence[Path], workers: int = 0) -> list[str]:
    """Decode every picture in threads, and return of each why it cannot be read."""
    count = workers or min(cores(), 16)
    return list(read_ahead(fault_of, paths, workers=count, window=2 * count))


def all_bad(reasons: Sequence[str]) -> DataError:
    """Return the error of data of which nothing is left."""
    return DataError(
        f"All {len(reasons)} pictures are bad; of the first: {reasons[0]}",
        hint="Leave --skip-bad out to stop at the first, and repair the data.",
    )


def fitting(request: Request) -> Preprocess:
    """Return how pictures become the network's input; nothing is read yet.

    Raises:
        DataError: there is more than one input, nothing was said about preprocessing, or it gives
            a size that the network does not take.
    """
    spec = _one_input(request)
    preprocess = _said(request)
    _check_size(request.path, preprocess, spec)
    return preprocess


def _stacked(arrays: list[NDArray[Any]], path: str) -> NDArray[Any]:
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) > 1:
        raise DataError(
            f"Pictures in {path} become {shapes[0]} and {shapes[-1]}, and cannot share a batch.",
            hint=f"Give all one size in --preprocess, such as '{EXAMPLE}'.",
        )
    return np.stack(arrays)


def _one_input(request: Request) -> InputSpec:
    if len(request.inputs) != 1:
        names = ", ".join(spec.name for spec in request.inputs)
        raise DataError(
            f"The folder {request.path} feeds one input, and the network has"
            f" {len(request.inputs)}: {names}.",
            hint="Give an npz file with one array for each input, under the inputs' names.",
        )
    return request.inputs[0]


def _said(request: Request) -> Preprocess:
    if request.preprocess is None:
        raise DataError(
            f"How the pictures in {request.path} become inputs was not said.",
            hint=f"Add what the network was trained with, such as --preprocess '{EXAMPLE}'"
            " (for plain pixels: 'mean=0,std=1').",
        )
    return request.preprocess


def _check_size(path: str, preprocess: Preprocess, spec: InputSpec) -> None:
    """Compare before anything is read, where the preprocessing alone fixes the size."""
    shape = preprocess.shape
    if shape is None or len(spec.shape) != 4:
        return
    if not spec.fits((1, *shape)):
        raise _misfit(f"Every picture in {path}", shape, spec)


def _misfit(who: str, shape: tuple[int, ...], spec: InputSpec) -> DataError:
    return DataError(
        f"{who} becomes {shape}, and the network's input is {spec}.",
        hint="Set resize, crop, channels and layout in --preprocess to the network's input,"
        f" such as '{EXAMPLE}'.",
    )
