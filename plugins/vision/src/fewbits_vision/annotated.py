"""Pictures with labels: checked as they are read, bad ones an error or left out and counted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from fewbits.data import Request
from fewbits.errors import DataError
from fewbits.framing import frame
from fewbits.labels import Boxes, many
from fewbits.picturedata import PictureDataset, all_bad, fault_of, fitting
from fewbits.pictures import size_of
from fewbits.preprocess import Preprocess
from numpy.typing import NDArray

#: pixels by which a box may reach out of its picture: files round.
SLACK = 1.0
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})

Item = TypeVar("Item")


@dataclass(frozen=True)
class Annotated:
    """One picture and what is in it.

    Args:
        file: the picture, relative to the data's folder, with forward slashes.
        size: its height and width.
        corners: left, top, right, bottom in pixels, `(n, 4)`.
        classes: int64 `(n,)`.
        crowd: bool `(n,)`.
    """

    file: str
    size: tuple[int, int]
    corners: NDArray[np.float64]
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_]

    def label(self, preprocess: Preprocess) -> Boxes:
        """Return the boxes, with where the picture lies in what `preprocess` makes of it."""
        return Boxes(self.classes, self.corners, frame(preprocess, self.size), self.crowd)


class Labelled(Protocol):
    """A picture with its label."""

    @property
    def file(self) -> str:
        """The picture, relative to the data's folder, with forward slashes."""

    def label(self, preprocess: Preprocess) -> Any:
        """Return the label, which has a `framing`."""


@dataclass(frozen=True)
class Gathered:
    """What was read, and what was left out, each with the reason."""

    pictures: tuple[Labelled, ...]
    skipped: tuple[str, ...] = ()


def gather(
    items: Sequence[Item], read: Callable[[Item], Labelled], folder: Path, *, skip_bad: bool
) -> Gathered:
    """Read each item; a bad one is an error, or left out.

    Only where bad ones are left out is every picture decoded here: how many remain must be known
    before the first is used.

    Args:
        items: what `read` takes.
        read: returns one picture with its label.
        folder: what the pictures' names are relative to.
        skip_bad: leave bad ones out.

    Raises:
        DataError: one is bad, or all are.
    """
    found: list[Labelled] = []
    skipped: list[str] = []
    for item in items:
        try:
            each = read(item)
            fault = fault_of(folder / each.file) if skip_bad else ""
            if fault:
                skipped.append(fault)
                continue
            found.append(each)
        except DataError as error:
            if not skip_bad:
                raise
            skipped.append(error.message)
    if not found and skipped:
        raise all_bad(skipped)
    return Gathered(tuple(found), tuple(skipped))


def picture_size(path: Path) -> tuple[int, int]:
    """Return height and width.

    Raises:
        DataError: there is no such file, or it is no picture.
    """
    if not path.is_file():
        raise DataError(
            f"There is no picture {path}.", hint="Add it, or leave bad ones out with --skip-bad."
        )
    return size_of(path)


def checked(box: Sequence[float], size: tuple[int, int], where: str) -> list[float]:
    """Return left, top, right, bottom, cut off at the picture's edges.

    Args:
        box: left, top, right, bottom in pixels.
        size: the picture's height and width.
        where: file and line, for messages.

    Raises:
        DataError: a value is not finite, the box has no area, or it reaches out of the picture by
            more than a pixel.
    """
    left, top, right, bottom = box
    shown = ", ".join(f"{value:.1f}" for value in box)
    if not np.isfinite(box).all() or right <= left or bottom <= top:
        raise DataError(
            f"{where} has a box without area: {shown} (left, top, right, bottom in pixels).",
            hint="Width and height must be above 0.",
        )
    height, width = size
    if min(left, top, width - right, height - bottom) < -SLACK:
        raise DataError(
            f"{where} has a box outside the picture of {height}x{width} (height x width): {shown}"
            " (left, top, right, bottom in pixels).",
            hint="Check that the labels belong to this picture, and their units.",
        )
    return [max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height)]


class LabelledPictures(PictureDataset):
    """Pictures whose labels follow them into the network's input.

    Args:
        request: what was asked.
        reader: the reader's name with its options.
        folder: what the files' names are relative to.
        gathered: the pictures.
        workers: number of decoding threads; 0 for one a core.

    Raises:
        DataError: as `PictureDataset`.
    """

    def __init__(
        self, request: Request, reader: str, folder: Path, gathered: Gathered, workers: int = 0
    ) -> None:
        preprocess = fitting(request)
        labels = many([each.label(preprocess) for each in gathered.pictures])
        files = [each.file for each in gathered.pictures]
        super().__init__(
            request,
            reader,
            folder,
            files,
            labels=labels,
            workers=workers,
            skipped=gathered.skipped,
        )

    def reopened(self, request: Request) -> "LabelledPictures":
        """Return the same pictures for another input, with labels where that shows them.

        Raises:
            DataError: as `PictureDataset`.
        """
        other = super().reopened(request)
        assert isinstance(other, LabelledPictures)
        if self.labels is not None:
            other.labels = many([_reframed(each, other.preprocess) for each in self.labels])
        return other


def _reframed(label: Any, preprocess: Preprocess) -> Any:
    return replace(label, framing=frame(preprocess, label.framing.picture))


def mirrored(path: Path, name: str, suffix: str) -> tuple[Path, Path] | None:
    """Return the folder of pictures and the one of their labels, as the field lays them out.

    Either `path` holds `images/` and the folder `name`, or it lies in an `images/` beside which a
    folder `name` has the same folders in it.

    Args:
        path: a folder.
        name: what the folder of labels is called.
        suffix: what a label's file ends in.
    """
    if (path / "images").is_dir() and (path / name).is_dir():
        return path / "images", path / name
    parts = path.resolve().parts
    if "images" not in parts:
        return None
    at = len(parts) - 1 - parts[::-1].index("images")
    other = Path(*parts[:at], name, *parts[at + 1 :])
    held = other.is_dir() and next(other.rglob(f"*{suffix}"), None) is not None
    return (path, other) if held else None


def pictures_in(folder: Path) -> list[Path]:
    """Return every picture in a folder and in those inside, in the order of their paths."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def of_lists(
    file: str,
    size: tuple[int, int],
    corners: Sequence[Sequence[float]],
    classes: Sequence[int],
    crowd: Sequence[bool],
) -> Annotated:
    """Return a picture with its boxes, which may be none."""
    return Annotated(
        file,
        size,
        np.array(corners, np.float64).reshape(-1, 4),
        np.array(classes, np.int64),
        np.array(crowd, np.bool_),
    )
