"""Boxes as arrays: how far two overlap, and which of many remain. Corners are `(n, 4)`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Corners = NDArray[np.float64]


@dataclass(frozen=True)
class Candidates:
    """What a head says of one picture.

    Args:
        corners: left, top, right, bottom relative to the network's input, `(n, 4)`.
        scores: `(n,)`.
        classes: int64 `(n,)`.
        known: how many classes the network tells apart; 0 where the head does not say.
    """

    corners: Corners
    scores: NDArray[np.float64]
    classes: NDArray[np.int64]
    known: int = 0

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "Candidates":
        return Candidates(self.corners[rows], self.scores[rows], self.classes[rows], self.known)


def corners_of(centres: NDArray[np.float64]) -> Corners:
    """Turn `(…, 4)` of centre x, centre y, width, height into left, top, right, bottom.

    >>> corners_of(np.array([[5.0, 5.0, 4.0, 2.0]]))
    array([[3., 4., 7., 6.]])
    """
    half = centres[..., 2:] / 2
    return np.concatenate([centres[..., :2] - half, centres[..., :2] + half], axis=-1)


def areas(corners: Corners) -> NDArray[np.float64]:
    """Return `(n,)`; a box whose corners are swapped has none."""
    sides = np.maximum(corners[:, 2:] - corners[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1])


def overlap(box: Corners, others: Corners) -> NDArray[np.float64]:
    """Intersection over union of one box with each of the others; 0 where the union is empty.

    Args:
        box: `(4,)`.
        others: `(n, 4)`.

    >>> overlap(np.array([0.0, 0.0, 2.0, 2.0]), np.array([[1.0, 0.0, 3.0, 2.0]])).round(4)
    array([0.3333])
    """
    shared = np.concatenate(
        [np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])], axis=1
    )
    common = areas(shared)
    union = areas(box[None]) + areas(others) - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def suppressed(corners: Corners, scores: NDArray[np.float64], iou: float) -> NDArray[np.int64]:
    """Greedy non-maximum suppression: the best box goes, and takes those over `iou` with it.

    Of equal scores the earlier box comes first.

    Args:
        corners: `(n, 4)`.
        scores: `(n,)`.
        iou: a box is dropped if it overlaps one that is kept by more than this.

    Returns:
        The rows that remain, best first.
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        order = rest[overlap(corners[best], corners[rest]) <= iou]
    return np.array(kept, np.int64)


def best_of(found: Candidates, iou: float, limit: int) -> Candidates:
    """Suppress within each class, and keep the best of all classes together.

    Args:
        found: the candidates.
        iou: overlap over which the lesser of two of a class goes; 1 keeps both.
        limit: how many to keep.

    Returns:
        At most `limit`, best first; of equal scores the earlier candidate comes first.
    """
    rows = np.arange(len(found))
    if iou < 1:
        of_class = (np.flatnonzero(found.classes == each) for each in np.unique(found.classes))
        kept = [r[suppressed(found.corners[r], found.scores[r], iou)] for r in of_class]
        rows = np.sort(np.concatenate([*kept, np.array([], np.int64)]))
    order = np.argsort(-found.scores[rows], kind="stable")[:limit]
    return found[rows[order]]
