"""Outputs of detectors turned into boxes: one function a head, arrays in and candidates out.

Each takes the outputs in order, batch first, and `Asked`; each yields the candidates of one
picture after another, before anything is suppressed. Boxes are relative to the network's input.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from fewbits.errors import DataError
from numpy.typing import NDArray

from fewbits_vision.boxes import Candidates, Corners, corners_of

Array = NDArray[np.float64]

#: YOLOv5's anchors for COCO: width and height in pixels, three a map, for strides 8, 16, 32.
YOLOV5_ANCHORS = (
    (10, 13, 16, 30, 33, 23),
    (30, 61, 62, 45, 59, 119),
    (116, 90, 156, 198, 373, 326),
)


@dataclass(frozen=True)
class Asked:
    """What a head needs to know besides the outputs.

    Args:
        frame: height and width that the network's boxes are measured in, in pixels.
        score: candidates below it are left out.
        logits: whether raw maps hold logits of the scores, not probabilities.
        anchors: YOLOv5's: widths and heights in pixels, one row a map; from fine to coarse.
        priors: SSD's: centre x, centre y, width, height relative to the input, `(n, 4)`; None
            where boxes are decoded already.
    """

    frame: tuple[int, int]
    score: float = 0.001
    logits: bool = True
    anchors: tuple[tuple[float, ...], ...] = YOLOV5_ANCHORS
    priors: Array | None = None


def plain(outputs: Sequence[Array], asked: Asked) -> Iterator[Candidates]:
    """Boxes that the network has chosen itself: one output `(batch, n, 6)`.

    A row is left, top, right, bottom in pixels of the input, score, class.

    Raises:
        DataError: the output has another shape.
    """
    (rows,) = _expect(outputs, 1, "one output (batch, n, 6)")
    if rows.ndim != 3 or rows.shape[2] != 6:
        raise _misfit(outputs, "one output (batch, n, 6)")
    for each in rows:
        each = each[each[:, 4] >= asked.score]
        yield Candidates(each[:, :4] / _extent(asked), each[:, 4], each[:, 5].astype(np.int64))


def fastestdet(outputs: Sequence[Array], asked: Asked) -> Iterator[Candidates]:
    """FastestDet: one output `(batch, 5 + classes, h, w)`, one box a cell.

    With the cell at column i, row j: cx = (i + tanh y1) / w, cy = (j + tanh y2) / h, the sides
    are σ(y3) and σ(y4); the score is objectness^0.6 · class^0.4 of the best class. Source:
    `handle_preds` of dog-qiuqiu/FastestDet.

    Raises:
        DataError: the output has another shape.
    """
    wanted = "one output (batch, 5 + classes, height, width)"
    (maps,) = _expect(outputs, 1, wanted)
    if maps.ndim != 4 or maps.shape[1] < 6:
        raise _misfit(outputs, wanted)
    height, width = maps.shape[2:]
    cells = _cells(height, width)
    for each in maps.reshape(len(maps), maps.shape[1], -1).transpose(0, 2, 1):
        centre = (cells + np.tanh(each[:, 1:3])) / (width, height)
        boxes = corners_of(np.concatenate([centre, _sigmoid(each[:, 3:5])], axis=1))
        best = each[:, 5:].argmax(axis=1)
        sure = np.take_along_axis(each[:, 5:], best[:, None], axis=1)[:, 0]
        scores = np.maximum(each[:, 0], 0) ** 0.6 * np.maximum(sure, 0) ** 0.4
        kept = scores >= asked.score
        yield Candidates(boxes[kept], scores[kept], best[kept], each.shape[1] - 5)


def yolov5(outputs: Sequence[Array], asked: Asked) -> Iterator[Candidates]:
    """YOLOv5 and v7: one decoded output, or the raw maps.

    Decoded: `(batch, n, 5 + classes)`: cx, cy, w, h in pixels of the input, objectness, classes.
    Raw: a map `(batch, anchors · (5 + classes), h, w)` a stride, with the cell at column i, row j:
    cx = (2 σ(x) − 0.5 + i) / w, sides (2 σ)² · anchor. The score is objectness · class; each class
    above the threshold is a candidate. Source: `Detect.forward` of ultralytics/yolov5.

    Raises:
        DataError: the outputs have other shapes.
    """
    wanted = "one output (batch, n, 5 + classes), or a map (batch, anchors · (5 + classes), h, w)"
    if len(outputs) == 1 and outputs[0].ndim == 3 and outputs[0].shape[2] > 5:
        extent = _extent(asked)
        decoded = [(corners_of(o[:, :4]) / extent, o[:, 4:5] * o[:, 5:]) for o in outputs[0]]
    else:
        if not 1 <= len(outputs) <= len(asked.anchors) or any(o.ndim != 4 for o in outputs):
            raise _misfit(outputs, f"{wanted} for each of {len(asked.anchors)} rows of anchors")
        decoded = [
            _joined(
                [
                    _yolov5_map(o[n], a, asked)
                    for o, a in zip(_fine(outputs), asked.anchors, strict=False)
                ]
            )
            for n in range(len(outputs[0]))
        ]
    for boxes, scores in decoded:
        yield _each_class(boxes, scores, asked.score)


def _yolov5_map(raw: Array, anchors: Sequence[float], asked: Asked) -> tuple[Corners, Array]:
    """Decode `(anchors · (5 + classes), h, w)` into boxes `(n, 4)` and scores `(n, classes)`."""
    sides = np.array(anchors, np.float64).reshape(-1, 2)
    height, width = raw.shape[1:]
    if raw.shape[0] % len(sides) or raw.shape[0] // len(sides) < 6:
        raise DataError(
            f"A map of {raw.shape[0]} channels is not {len(sides)} anchors · (5 + classes).",
            hint="Set detection's options outputs and anchors.",
        )
    rows = raw.reshape(len(sides), -1, height * width).transpose(0, 2, 1)
    rows = _sigmoid(rows) if asked.logits else rows
    centre = (rows[..., :2] * 2 - 0.5 + _cells(height, width)) / (width, height)
    extent = (rows[..., 2:4] * 2) ** 2 * sides[:, None] / (asked.frame[1], asked.frame[0])
    boxes = corners_of(np.concatenate([centre, extent], axis=-1))
    scores = rows[..., 4:5] * rows[..., 5:]
    return boxes.reshape(-1, 4), scores.reshape(len(boxes) * height * width, -1)


def yolov8(outputs: Sequence[Array], asked: Asked) -> Iterator[Candidates]:
    """YOLOv8 and its kin without anchors: one decoded output, or the raw maps.

    Decoded: `(batch, 4 + classes, n)`: cx, cy, w, h in pixels of the input, probabilities. Raw:
    for each stride a map of the sides `(batch, 4 · bins, h, w)` and one of the classes
    `(batch, classes, h, w)`. Each side's distance from the cell's middle is the mean of a softmax
    over its bins, in cells: left = (i + 0.5 − Σ k · softmax_k) / w. Source: `Detect`, `DFL` and
    `dist2bbox` of ultralytics.

    Raises:
        DataError: the outputs have other shapes.
    """
    wanted = "one output (batch, 4 + classes, n), or two maps a stride: 4 · bins, then classes"
    if len(outputs) == 1 and outputs[0].ndim == 3 and outputs[0].shape[1] > 4:
        extent = _extent(asked)
        decoded = [(corners_of(o[:4].T) / extent, o[4:].T) for o in outputs[0]]
    else:
        pairs = list(zip(outputs[::2], outputs[1::2], strict=False))
        fits = [a.ndim == b.ndim == 4 and a.shape[2:] == b.shape[2:] for a, b in pairs]
        if not pairs or len(outputs) % 2 or not all(fits) or any(a.shape[1] % 4 for a, _ in pairs):
            raise _misfit(outputs, wanted)
        decoded = [
            _joined([_yolov8_map(sides[n], scores[n], asked) for sides, scores in pairs])
            for n in range(len(outputs[0]))
        ]
    for boxes, scores in decoded:
        yield _each_class(boxes, scores, asked.score)


def _yolov8_map(sides: Array, scores: Array, asked: Asked) -> tuple[Corners, Array]:
    """Decode `(4 · bins, h, w)` and `(classes, h, w)` into `(n, 4)` and `(n, classes)`."""
    height, width = sides.shape[1:]
    logits = sides.reshape(4, -1, height * width)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    bins = np.arange(logits.shape[1])
    far = np.einsum("skn,k->ns", weights, bins) / weights.sum(axis=1).T
    middle = _cells(height, width) + 0.5
    boxes = np.concatenate([middle - far[:, :2], middle + far[:, 2:]], axis=1)
    flat = scores.reshape(len(scores), -1).T
    return boxes / (width, height, width, height), _sigmoid(flat) if asked.logits else flat


def ssd(outputs: Sequence[Array], asked: Asked) -> Iterator[Candidates]:
    """SSD: boxes `(batch, n, 4)` and scores `(batch, n, classes)`, in either order.

    Scores are probabilities; class 0 is the background and no candidate. Without priors boxes are
    corners relative to the input. With priors (cx, cy, w, h) they are offsets:
    cx + 0.1 · w · t0, cy + 0.1 · h · t1, w · exp(0.2 · t2), h · exp(0.2 · t3). Source: Liu et al.,
    SSD, 2016, and the variances of its code.

    Raises:
        DataError: the outputs have other shapes.
    """
    wanted = "two outputs (batch, n, 4) and (batch, n, classes)"
    pair = _expect(outputs, 2, wanted)
    boxes, scores = pair if pair[0].shape[-1] == 4 else pair[::-1]
    if boxes.ndim != 3 or boxes.shape[-1] != 4 or scores.shape[:2] != boxes.shape[:2]:
        raise _misfit(outputs, wanted)
    for own, sure in zip(boxes, scores, strict=True):
        placed = own if asked.priors is None else _from_priors(own, asked.priors)
        found = _each_class(placed, sure[:, 1:], asked.score)
        yield Candidates(found.corners, found.scores, found.classes + 1, sure.shape[1])


def _from_priors(offsets: Array, priors: Array) -> Corners:
    if priors.shape != offsets.shape:
        raise DataError(
            f"The priors have shape {priors.shape}, and the network gives {offsets.shape}.",
            hint="Give detection's option priors an npy file with one row for each box.",
        )
    centre = priors[:, :2] + 0.1 * priors[:, 2:] * offsets[:, :2]
    sides = priors[:, 2:] * np.exp(0.2 * offsets[:, 2:])
    return corners_of(np.concatenate([centre, sides], axis=1))


def _each_class(boxes: Corners, scores: Array, threshold: float) -> Candidates:
    """Make a candidate of each class of each box that reaches the threshold."""
    rows, classes = np.nonzero(scores >= threshold)
    return Candidates(boxes[rows], scores[rows, classes], classes.astype(np.int64), scores.shape[1])


def _joined(parts: Sequence[tuple[Corners, Array]]) -> tuple[Corners, Array]:
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _fine(outputs: Sequence[Array]) -> list[Array]:
    """Return maps from fine to coarse, as anchors stand."""
    return sorted(outputs, key=lambda o: -o.shape[2] * o.shape[3])


def _cells(height: int, width: int) -> Array:
    """Return column and row of each cell, row by row, `(height · width, 2)`."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float64)


def _extent(asked: Asked) -> Array:
    height, width = asked.frame
    return np.array([width, height, width, height], np.float64)


def _sigmoid(values: Array) -> Array:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * values)))


def _expect(outputs: Sequence[Array], count: int, wanted: str) -> Sequence[Array]:
    if len(outputs) != count:
        raise _misfit(outputs, wanted)
    return outputs


def _misfit(outputs: Sequence[Array], wanted: str) -> DataError:
    shapes = ", ".join(str(tuple(o.shape)) for o in outputs)
    return DataError(
        f"The outputs have shapes {shapes}; this decoder reads {wanted}.",
        hint="Set detection's option decoder to the network's head, and outputs to the outputs"
        " that it is made of, in order.",
    )
