"""The evaluator `segmentation`: the class of each pixel against what it should be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from fewbits.errors import DataError, RecipeError, nearest
from fewbits.framing import Framing
from fewbits.interfaces import Accumulator, Evaluator
from fewbits.labels import Labels, Regions, kind_of
from fewbits.options import Options
from numpy.typing import NDArray
from pydantic import Field


class SegmentationOptions(Options):
    """Options of the `segmentation` evaluator."""

    output: str = Field(
        default="", description="The output with the classes; may be empty for only one."
    )
    ignore: int = Field(default=255, description="Pixels with this label count for nothing.")
    label_offset: int = Field(
        default=0, description="Added to labels: -1 for labels that start at 1."
    )
    classes: int = Field(
        default=0,
        ge=0,
        description="How many classes there are, where the network gives each pixel's class alone.",
    )


@dataclass
class SegmentationTotals(Accumulator):
    """A confusion matrix: how many pixels of each class were taken for which.

    Args:
        options: where classes and labels are.
    """

    options: SegmentationOptions
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))

    def update(
        self,
        outputs: Mapping[str, NDArray[Any]],
        labels: Labels | None,
        reference: Mapping[str, NDArray[Any]] | None,
    ) -> None:
        """Count one batch's pixels, in the pictures' own sizes.

        Raises:
            DataError: the labels are no regions, one is no class, or the output gives no classes.
            RecipeError: the output that the options name does not exist.
        """
        values = self._output(outputs)
        for scores, regions in zip(values, self._checked(labels, len(values)), strict=True):
            count = len(scores) if len(scores) > 1 else self.options.classes
            self._add(confusion(*self._pairs(scores, regions, count), count))

    def _output(self, outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return `(batch, classes, h, w)` of scores, or `(batch, 1, h, w)` of classes."""
        name = self.options.output or next(iter(outputs))
        if name not in outputs or (not self.options.output and len(outputs) > 1):
            said = f"no output '{name}'" if name not in outputs else f"{len(outputs)} outputs"
            raise RecipeError(
                f"segmentation: the network has {said}.",
                hint=f"Set its option output. {nearest(name, outputs)}",
            )
        values = outputs[name]
        values = values[:, None] if values.ndim == 3 else values
        if values.ndim != 4 or (values.shape[1] == 1 and not self.options.classes):
            raise DataError(
                f"Output '{name}' of shape {outputs[name].shape} gives no scores of classes"
                " (batch, classes, height, width).",
                hint="If it gives each pixel's class itself, set segmentation's option classes.",
            )
        return values

    def _checked(self, labels: Labels | None, count: int) -> Sequence[Regions]:
        if labels is None or len(labels) != count or kind_of(labels) is not Regions:
            said = "none" if labels is None else f"{len(labels)}"
            raise DataError(
                f"segmentation needs labels (regions) for each of {count} samples; there are"
                f" {said}.",
                hint="Give a folder with images/ and masks/.",
            )
        return list(labels)

    def _pairs(
        self, scores: NDArray[Any], regions: Regions, count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the true and the found class of each pixel that counts."""
        true = regions.classes()
        rows, columns, seen = places(regions.framing, scores.shape[1:])
        found = picked(scores, rows, columns)
        counts = seen & (true != self.options.ignore)
        wanted, chosen = true[counts] + self.options.label_offset, found[counts]
        for each, whose in ((wanted, f"{regions.file} has"), (chosen, "The network gives")):
            outside = each[(each < 0) | (each >= count)]
            if len(outside):
                raise DataError(
                    f"{whose} the class {outside[0]}, which is none of {count}, 0 to {count - 1}.",
                    hint="Set segmentation's options ignore, label_offset or classes.",
                )
        return wanted, chosen

    def _add(self, other: NDArray[np.int64]) -> None:
        size = max(len(self.pixels), len(other))
        whole = np.zeros((size, size), np.int64)
        for part in (self.pixels, other):
            whole[: len(part), : len(part)] += part
        self.pixels = whole

    def merge(self, other: Accumulator) -> None:
        """Add the counts of another part of the samples."""
        assert isinstance(other, SegmentationTotals)
        self._add(other.pixels)

    def result(self) -> dict[str, float]:
        """Return mIoU and the share of right pixels, in percent; NaN where no pixel counted."""
        right = np.diag(self.pixels)
        union = self.pixels.sum(axis=0) + self.pixels.sum(axis=1) - right
        there = union > 0
        shares = right[there] / union[there]
        total = self.pixels.sum()
        return {
            "mIoU": float(shares.mean() * 100) if len(shares) else float("nan"),
            "pixels": float(right.sum() * 100 / total) if total else float("nan"),
        }


class Segmentation(Evaluator):
    """Mean over classes of intersection over union (`mIoU`), and the share of right pixels, in %.

    A class counts if any pixel has it or was given it. Scores are interpolated linearly at the
    middles of the picture's own pixels, then the highest is taken; what a crop cut off is left out.
    """

    name = "segmentation"
    Options = SegmentationOptions
    needs_labels = True
    label_kind = Regions
    headline = "mIoU"
    units: ClassVar[Mapping[str, str]] = {"mIoU": "%", "pixels": "%"}

    def accumulator(self) -> SegmentationTotals:
        """Return fresh running totals."""
        return SegmentationTotals(self.options)


def confusion(true: NDArray[np.int64], found: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Count how often which class was taken for which, `(true, found)`.

    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    array([[1, 1],
           [0, 1]])
    """
    flat = np.bincount(true * classes + found, minlength=classes * classes)
    return np.asarray(flat.reshape(classes, classes), np.int64)


def places(
    framing: Framing, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return where the middles of a picture's pixels lie in a map that covers the input.

    Args:
        framing: where the picture lies in the input.
        shape: the map's height and width.

    Returns:
        Rows `(height,)` and columns `(width,)` in cells of the map, counted from the middle of the
        first; and `(height, width)`: whether the input shows the pixel.
    """
    found: list[NDArray[np.float64]] = []
    inside: list[NDArray[np.bool_]] = []
    for axis in (0, 1):
        middles = np.arange(framing.picture[axis], dtype=np.float64) + 0.5
        seen = middles * framing.scale[axis] + framing.shift[axis]
        inside.append((seen >= 0) & (seen <= framing.frame[axis]))
        found.append(seen * (shape[axis] / framing.frame[axis]) - 0.5)
    return found[0], found[1], inside[0][:, None] & inside[1]


def picked(
    scores: NDArray[Any], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the class at each place: the highest interpolated score, or the nearest class.

    Args:
        scores: `(classes, h, w)` of scores; with one channel, the classes themselves.
        rows: `(height,)`, in cells from the middle of the first.
        columns: `(width,)`, likewise.

    Returns:
        int64 `(height, width)`.
    """
    at = [p.clip(0, s - 1) for p, s in zip((rows, columns), scores.shape[1:], strict=True)]
    if len(scores) == 1:
        near = [np.floor(p + 0.5).astype(np.int64) for p in at]
        return np.asarray(scores[0][np.ix_(*near)].astype(np.int64))
    values = scores.astype(np.float32)
    for axis, place in enumerate(at, 1):
        low = place.astype(np.int64)
        high = np.minimum(low + 1, scores.shape[axis] - 1)
        share = (place - low).astype(np.float32).reshape(-1, *[1] * (2 - axis))
        first = values.take(low, axis)
        values = first + share * (values.take(high, axis) - first)
    return np.asarray(values.argmax(axis=0), np.int64)
