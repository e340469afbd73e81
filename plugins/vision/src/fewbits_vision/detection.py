"""The evaluator `detection`: boxes against boxes, by COCO's mean average precision."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from fewbits.errors import DataError, RecipeError, nearest
from fewbits.interfaces import Accumulator, Evaluator
from fewbits.labels import Boxes, Labels, kind_of
from fewbits.options import Options
from numpy.typing import NDArray
from pydantic import Field

from fewbits_vision import heads
from fewbits_vision.boxes import Candidates, best_of
from fewbits_vision.precision import THRESHOLDS, average_precision


@dataclass(frozen=True)
class Head:
    """A kind of detector's output.

    Args:
        decode: outputs, in order → candidates of each picture.
        iou: overlap that is suppressed by default: what its authors evaluate with.
    """

    decode: Callable[[Sequence[heads.Array], heads.Asked], Iterator[Candidates]]
    iou: float


HEADS: Mapping[str, Head] = {
    "boxes": Head(heads.plain, 1.0),
    "fastestdet": Head(heads.fastestdet, 0.45),
    "ssd": Head(heads.ssd, 0.45),
    "yolov5": Head(heads.yolov5, 0.6),
    "yolov8": Head(heads.yolov8, 0.7),
}


class DetectionOptions(Options):
    """Options of the `detection` evaluator."""

    decoder: Literal["boxes", "fastestdet", "ssd", "yolov5", "yolov8"] = Field(
        default="boxes",
        description="The network's head; boxes: rows of left, top, right, bottom, score, class.",
    )
    outputs: tuple[str, ...] = Field(
        default=(), description="The outputs that the decoder reads, in its order; default: all."
    )
    score: float = Field(default=0.001, ge=0, le=1, description="Boxes below it are left out.")
    iou: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Of two boxes of a class that overlap more, the lesser goes; 1 keeps all."
        " Default: the head's own.",
    )
    max_detections: int = Field(default=100, ge=1, description="Boxes a picture that count.")
    label_offset: int = Field(
        default=0, description="Added to labels: 1 for networks whose class 0 is the background."
    )
    class_map: tuple[int, ...] = Field(
        default=(),
        description="The network's class for label 0, 1, …, where an offset does not do.",
    )
    size: tuple[int, int] | None = Field(
        default=None,
        description="[height, width] that the network's pixels count in; default: its input's.",
    )
    logits: bool = Field(
        default=True, description="Whether YOLO's raw maps hold logits, not probabilities."
    )
    anchors: tuple[float, ...] = Field(
        default=(),
        description="YOLOv5's widths and heights in pixels, three pairs a map, from fine to"
        " coarse; default: those for COCO.",
    )
    priors: str = Field(
        default="",
        description="SSD's priors: an npy file (n, 4) of cx, cy, w, h; where boxes are offsets.",
    )


@dataclass
class DetectionTotals(Accumulator):
    """What was found and what was there, a picture at a time; no map or picture is kept.

    Args:
        options: the decoder and its options.
        asked: what the decoder needs, but for the frame.
    """

    options: DetectionOptions
    asked: heads.Asked
    found: list[Candidates] = field(default_factory=list)
    wanted: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = field(default_factory=list)

    def update(
        self,
        outputs: Mapping[str, NDArray[Any]],
        labels: Labels | None,
        reference: Mapping[str, NDArray[Any]] | None,
    ) -> None:
        """Decode one batch.

        Raises:
            DataError: the labels are no boxes, or the outputs are not what the decoder reads.
            RecipeError: an output that the options name does not exist, or the class map is short.
        """
        truth = self._checked(labels, len(next(iter(outputs.values()))))
        chosen = [values.astype(np.float64) for values in self._chosen(outputs)]
        head = HEADS[self.options.decoder]
        limit = head.iou if self.options.iou is None else self.options.iou
        frame = self.options.size or truth[0].framing.frame
        asked = heads.Asked(
            frame, self.asked.score, self.asked.logits, self.asked.anchors, self.asked.priors
        )
        for candidates, boxes in zip(head.decode(chosen, asked), truth, strict=True):
            best = best_of(candidates, limit, self.options.max_detections)
            self.found.append(_in_picture(best, boxes))
            classes = self._classes(boxes.classes, candidates.known)
            self.wanted.append((boxes.corners, classes, boxes.crowd))

    def _checked(self, labels: Labels | None, count: int) -> Sequence[Boxes]:
        if labels is None or len(labels) != count or kind_of(labels) is not Boxes:
            said = "none" if labels is None else f"{len(labels)}"
            raise DataError(
                f"detection needs labels (boxes) for each of {count} samples; there are {said}.",
                hint="Give a folder with YOLO's text files, or a json file of COCO's form.",
            )
        return list(labels)

    def _chosen(self, outputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        names = self.options.outputs or tuple(outputs)
        for name in names:
            if name not in outputs:
                raise RecipeError(
                    f"detection: the network has no output '{name}'.", hint=nearest(name, outputs)
                )
        return [outputs[name] for name in names]

    def _classes(self, labels: NDArray[np.int64], known: int) -> NDArray[np.int64]:
        """Return the network's classes of labels; `known` is how many it has, 0 if not known."""
        mapped = self.options.class_map
        if mapped and len(labels) and labels.max() >= len(mapped):
            raise RecipeError(
                f"detection: class_map has {len(mapped)} classes, and there is a label"
                f" {labels.max()}.",
                hint="Give one class of the network for each label from 0.",
            )
        classes = np.asarray(mapped, np.int64)[labels] if mapped else labels
        classes = classes + self.options.label_offset
        outside = (classes < 0) | ((classes >= known) & (known > 0))
        if outside.any():
            raise DataError(
                f"Class {classes[outside][0]} (label {labels[outside][0]}) is not one of the"
                f" network's {known} classes, 0 to {known - 1}.",
                hint="Set detection's option label_offset or class_map. To have file and line"
                " named, give the reader the number of classes: --data-reader yolo:classes=80.",
            )
        return classes

    def merge(self, other: Accumulator) -> None:
        """Add what was found in other pictures."""
        assert isinstance(other, DetectionTotals)
        self.found += other.found
        self.wanted += other.wanted

    def result(self) -> dict[str, float]:
        """Return the mean average precisions, in percent."""
        means = average_precision(self.wanted, self.found, self.options.max_detections) * 100
        at = dict(zip(THRESHOLDS.round(2).tolist(), means.tolist(), strict=True))
        return {"mAP50": at[0.5], "mAP75": at[0.75], "mAP50_95": float(means.mean())}


class Detection(Evaluator):
    """COCO's mean average precision: at an overlap of 0.5, of 0.75, and over 0.5 to 0.95, in %.

    Outputs are decoded by the head, suppressed class by class, brought back to the picture and
    compared there.
    """

    name = "detection"
    Options = DetectionOptions
    needs_labels = True
    label_kind = Boxes
    headline = "mAP50_95"
    units: ClassVar[Mapping[str, str]] = {"mAP50": "%", "mAP75": "%", "mAP50_95": "%"}

    def accumulator(self) -> DetectionTotals:
        """Return fresh running totals.

        Raises:
            RecipeError: anchors or priors are not what they should be.
        """
        options: DetectionOptions = self.options
        priors = _priors(options.priors) if options.priors else None
        asked = heads.Asked((1, 1), options.score, options.logits, _anchors(options), priors)
        return DetectionTotals(options, asked)


def _anchors(options: DetectionOptions) -> tuple[tuple[float, ...], ...]:
    given = options.anchors
    if len(given) % 6:
        raise RecipeError(
            f"detection: {len(given)} anchors are not three pairs for each map.",
            hint="Give width and height of three anchors for each map, from fine to coarse.",
        )
    rows = tuple(given[start : start + 6] for start in range(0, len(given), 6))
    return rows or heads.YOLOV5_ANCHORS


def _priors(path: str) -> NDArray[np.float64]:
    try:
        priors = np.load(path, allow_pickle=False).astype(np.float64)
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"detection: the priors {path} cannot be read: {error}.",
            hint="Save them with numpy.save, one row cx, cy, w, h for each box.",
        ) from error
    return np.asarray(priors)


def _in_picture(found: Candidates, boxes: Boxes) -> Candidates:
    """Bring boxes from the input back to the picture, cut off at its edges.

    A box whose corners are swapped has no area there; COCO's overlap would take it for something.
    """
    height, width = boxes.framing.frame
    seen = found.corners * (width, height, width, height)
    tall, wide = boxes.framing.picture
    corners = boxes.framing.pictured(seen).clip(0, (wide, tall, wide, tall))
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2])
    return Candidates(corners, found.scores, found.classes)
