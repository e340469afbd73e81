"""Arrays on their way into a network: checked, cast, preprocessed, sliced as they are asked for."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbits.data import Batch, InputSpec, Request
from fewbits.errors import DataError
from fewbits.filedata import FileDataset
from fewbits.mapped import Samples
from fewbits.pictures import from_pixels
from fewbits.preprocess import EXAMPLE, Preprocess


@dataclass(frozen=True)
class Feed:
    """How one array becomes one input.

    Args:
        spec: the input.
        where: file and key, for messages.
        array: the samples, first axis first.
        preprocess: for 8-bit pictures; None where the values go in as they are.
    """

    spec: InputSpec
    where: str
    array: Samples
    preprocess: Preprocess | None

    @property
    def cast(self) -> str:
        """Say what conversion the values go through; empty if none."""
        if self.preprocess is not None or self.array.dtype == self.spec.dtype:
            return ""
        return f"{self.array.dtype} -> {self.spec.dtype}"

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the rows as the network takes them.

        Raises:
            DataError: a value is NaN or infinite, or a picture is too small.
        """
        raw = np.ascontiguousarray(self.array[_as_slice(rows)])
        if self.preprocess is not None:
            pictures = raw[..., None] if raw.ndim == 3 else raw
            values: NDArray[Any] = _from_pictures(pictures, self.preprocess, self.where)
        else:
            self._check_finite(raw, rows)
            values = raw
        with np.errstate(over="ignore"):
            values = values.astype(self.spec.dtype, copy=False)
        self._check_finite(values, rows)
        return values

    def _check_finite(self, values: NDArray[Any], rows: NDArray[np.int64]) -> None:
        if values.dtype.kind != "f" or np.isfinite(values).all():
            return
        bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        raise DataError(
            f"{self.where} holds NaN, infinite or too large values in sample"
            f" {rows[np.argmax(bad)]}.",
            hint="Take these samples out.",
        )


class FeedDataset(FileDataset):
    """Arrays of a file, or in memory, sliced as they are asked for.

    Args:
        request: what was asked.
        feeds: input name → how its array goes in.
        rows: which samples.
        labels: their labels, or None.
    """

    def __init__(
        self,
        request: Request,
        feeds: Mapping[str, Feed],
        rows: NDArray[np.int64],
        labels: NDArray[np.int64] | None,
    ) -> None:
        super().__init__(request, "arrays", rows, labels)
        self.feeds = dict(feeds)

    def batches(self, size: int) -> Iterator[Batch]:
        """Read `size` rows at a time."""
        for start in range(0, len(self), size):
            rows = self.rows[start : start + size]
            labels = None if self.labels is None else self.labels[start : start + size]
            yield Batch({name: feed.read(rows) for name, feed in self.feeds.items()}, labels)

    def reopened(self, request: Request) -> "FeedDataset":
        """Return the same arrays, checked against other inputs.

        Raises:
            DataError: they do not fit.
        """
        other = super().reopened(request)
        specs = {spec.name: spec for spec in request.inputs}
        other.feeds = {
            name: feed(specs[name], held.array, held.where, request.preprocess)
            for name, held in self.feeds.items()
        }
        return other

    def content_digest(self) -> str:
        """Hash each array's name, type, shape and the bytes of the samples."""
        digest = hashlib.sha256()
        for name, feed in sorted(self.feeds.items()):
            array = feed.array
            digest.update(f"{name}\0{array.dtype.str}\0{array.shape[1:]}\0".encode())
            for start in range(0, len(self), 64):
                rows = self.rows[start : start + 64]
                part = np.ascontiguousarray(array[_as_slice(rows)])
                digest.update(part.reshape(-1).view(np.uint8).data)
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Add the casts; the preprocessing is named only where it is applied."""
        about = super().describe()
        if all(feed.preprocess is None for feed in self.feeds.values()):
            about["preprocess"] = ""
        casts = {name: feed.cast for name, feed in self.feeds.items() if feed.cast}
        return {**about, "cast": casts} if casts else about


def feed(spec: InputSpec, array: Samples, where: str, preprocess: Preprocess | None = None) -> Feed:
    """Decide how an array becomes an input.

    Values of the input's type go in as they are, and neighbours of the type (float64, int32) are
    cast; uint8 arrays are pictures `(samples, height, width[, channels])` and are preprocessed.

    Args:
        spec: the input.
        array: the samples, first axis first.
        where: file and key, for messages.
        preprocess: how pictures become inputs.

    Raises:
        DataError: type or shape do not fit, the array is empty, or the preprocessing is missing.
    """
    if 0 in (len(array.shape), *array.shape):
        raise DataError(
            f"{where} is empty: its shape is {array.shape}.",
            hint=f"The network's input is {spec}.",
        )
    if array.dtype == np.uint8 and spec.dtype != np.uint8:
        return _checked(Feed(spec, where, array, _for_pictures(array, spec, where, preprocess)))
    if array.dtype.kind != spec.dtype.kind or not np.can_cast(array.dtype, spec.dtype, "same_kind"):
        raise DataError(
            f"{where} holds {array.dtype}, and the network's input is {spec}.",
            hint=f"Convert it with .astype('{spec.dtype}'); uint8 is for pictures.",
        )
    return _checked(Feed(spec, where, array, None))


def _for_pictures(
    array: Samples, spec: InputSpec, where: str, preprocess: Preprocess | None
) -> Preprocess:
    """Return how uint8 arrays go in, once it is sure that they are pictures."""
    depth = (*array.shape, 1)[3] if len(array.shape) in (3, 4) else 0
    if depth not in (1, 3) or len(spec.shape) != 4:
        raise DataError(
            f"{where} is uint8 of shape {array.shape}, which are no pictures"
            f" (samples, height, width, 1 or 3) for the input {spec}.",
            hint="Transpose pictures to channels last, or give float32 in the network's layout.",
        )
    if preprocess is None:
        raise DataError(
            f"How the 8-bit pictures in {where} become inputs was not said.",
            hint=f"Add what the network was trained with, such as --preprocess '{EXAMPLE}'"
            " (for plain pixels: 'mean=0,std=1').",
        )
    return preprocess


def _from_pictures(
    raw: NDArray[np.uint8], preprocess: Preprocess, where: str
) -> NDArray[np.float32]:
    """Preprocess uint8 `(batch, height, width, channels)`; all at once unless they change size."""
    if preprocess.keeps_size:
        return preprocess.normalize(raw, where)
    pixels = [preprocess.pixels(from_pixels(picture), where) for picture in raw]
    return preprocess.normalize(np.stack(pixels), where)


def _checked(feed: Feed) -> Feed:
    """Try the first sample: every sample of an array has its shape."""
    shape = feed.read(np.zeros(1, np.int64)).shape
    if feed.spec.fits(shape):
        return feed
    hint = f"Give it in the network's layout: {feed.spec}."
    if feed.preprocess is not None:
        hint = "Set resize, crop, channels and layout in --preprocess to the network's input."
    elif feed.spec.fits((1, *feed.array.shape)):
        hint = "It is one sample without the batch axis: give array[None]."
    elif len(shape) == 4 and feed.spec.fits(tuple(shape[i] for i in (0, 3, 1, 2))):
        hint = "It has channels last: give array.transpose(0, 3, 1, 2)."
    raise DataError(
        f"{feed.where} gives samples of shape {shape[1:]}, and the network's input is {feed.spec}.",
        hint=hint,
    )


def common_length(feeds: Mapping[str, Feed]) -> int:
    """Return the number of samples.

    Raises:
        DataError: the inputs differ in it.
    """
    lengths = {feed.where: feed.array.shape[0] for feed in feeds.values()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{where} {length}" for where, length in lengths.items())
        raise DataError(
            f"The inputs have different numbers of samples: {said}.",
            hint="Row i of every array must belong to sample i.",
        )
    return next(iter(lengths.values()))


def checked_labels(
    labels: NDArray[Any], length: int, where: str, samples: str
) -> NDArray[np.int64]:
    """Return class labels as int64 `(length,)`.

    Args:
        labels: whole numbers, `(length,)` or `(length, 1)`.
        length: the number of samples.
        where: where the labels come from, for messages.
        samples: where the samples come from, for messages.

    Raises:
        DataError: they are no whole numbers, or not one for each sample.
    """
    flat = labels.reshape(-1)
    if labels.dtype.kind not in "iu" or len(flat) != len(labels):
        raise DataError(
            f"{where} is {labels.dtype} of shape {labels.shape}, which are no labels.",
            hint="Labels are one whole number, the class index, for each sample.",
        )
    if len(flat) != length:
        raise DataError(
            f"{where} holds {len(flat)} labels for {length} samples of {samples}.",
            hint="Give one label for each sample; labels of the array KEY may be named KEY_labels.",
        )
    return flat.astype(np.int64)


def _as_slice(rows: NDArray[np.int64]) -> NDArray[np.int64] | slice:
    """Return consecutive rows as a slice, which numpy does not copy."""
    if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
