"""Average precision by COCO's rules, computed by faster-coco-eval."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbits_vision.boxes import Candidates, areas

#: COCO's thresholds of overlap.
THRESHOLDS = np.linspace(0.5, 0.95, 10)


def average_precision(
    wanted: Sequence[tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]],
    found: Sequence[Candidates],
    limit: int,
) -> NDArray[np.float64]:
    """Return the mean over classes of the average precision, for each of `THRESHOLDS`, in 0..1.

    For each class, precision as a function of recall is made falling and averaged over 101
    recalls. A class counts if it has an object that is no crowd.

    Args:
        wanted: for each picture corners `(n, 4)` in pixels, classes and crowd `(n,)`.
        found: for each picture what was found, corners in pixels.
        limit: boxes a class and picture that count, the best first.

    Returns:
        `(10,)`; NaN where there is no object.

    Source: Lin et al., Microsoft COCO, 2014; pycocotools' `COCOeval`.
    """
    from faster_coco_eval import COCO, COCOeval_faster  # type: ignore[import-untyped]

    truth = COCO(_dataset(wanted))
    if not truth.dataset["annotations"]:
        return np.full(len(THRESHOLDS), np.nan)
    judge = COCOeval_faster(truth, truth.loadRes(_results(found)), "bbox")
    judge.params.maxDets = [limit]
    judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
    judge.evaluate()
    judge.accumulate()
    precision = np.asarray(judge.eval["precision"]).reshape(len(THRESHOLDS), 101, -1)
    counted = precision[:, :, (precision >= 0).all(axis=(0, 1))]
    if not counted.size:
        return np.full(len(THRESHOLDS), np.nan)
    return np.asarray(counted.mean(axis=(1, 2)))


def _dataset(wanted: Sequence[tuple[Any, Any, Any]]) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = [
        {
            "image_id": image,
            "category_id": int(each),
            "bbox": _sides(box),
            "area": float(area),
            "iscrowd": int(group),
        }
        for image, (corners, classes, crowd) in enumerate(wanted, 1)
        for box, area, each, group in zip(corners, areas(corners), classes, crowd, strict=True)
    ]
    for number, each in enumerate(annotations, 1):
        each["id"] = number
    seen = sorted({each["category_id"] for each in annotations})
    return {
        "images": [{"id": image} for image in range(1, len(wanted) + 1)],
        "annotations": annotations,
        "categories": [{"id": each, "name": str(each)} for each in seen],
    }


def _results(found: Sequence[Candidates]) -> list[dict[str, Any]]:
    return [
        {
            "image_id": image,
            "category_id": int(each),
            "bbox": _sides(box),
            "score": float(score),
        }
        for image, boxes in enumerate(found, 1)
        for box, score, each in zip(boxes.corners, boxes.scores, boxes.classes, strict=True)
    ]


def _sides(box: NDArray[np.float64]) -> list[float]:
    left, top, right, bottom = (float(value) for value in box)
    return [left, top, right - left, bottom - top]
