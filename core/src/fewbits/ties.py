"""Unknowns that must be equal: a union-find over arrays of labels, which remembers reasons."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

#: label of numbers that are always zero: any factor fits them.
ZERO = -1


class Ties:
    """Labels, tied to one another or held fixed, for one walk over a graph.

    >>> ties = Ties()
    >>> a, b = ties.fresh(2), ties.fresh(2)
    >>> ties.unite(a, b[::-1])
    >>> ties.fix(b[:1], "an output")
    >>> ties.classes(a), ties.reason(a)
    (array([1, 0]), 'an output')
    """

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._reasons: dict[int, str] = {}

    def fresh(self, count: int) -> Ids:
        """Return `count` new labels, each free and tied to nothing."""
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return np.arange(first, first + count, dtype=np.int64)

    def fixed(self, reason: str) -> int:
        """Return a new label that is fixed."""
        label = int(self.fresh(1)[0])
        self._reasons[label] = reason
        return label

    def unite(self, a: Ids, b: Ids) -> None:
        """Tie labels element by element; the arrays broadcast, and `ZERO` ties nothing."""
        if a is b:
            return
        pairs = np.stack([x.ravel() for x in np.broadcast_arrays(a, b)])
        pairs = pairs[:, (pairs != ZERO).all(axis=0) & (pairs[0] != pairs[1])]
        for one, other in np.unique(pairs, axis=1).T.tolist():
            self._join(one, other)

    def fix(self, ids: Ids, reason: str) -> None:
        """Hold labels fixed; the first reason given stays."""
        for label in np.unique(ids).tolist():
            if label != ZERO:
                self._reasons.setdefault(self._root(label), reason)

    def reason(self, ids: Ids) -> str:
        """Return why the first fixed label among these is fixed; empty when all are free."""
        for label in ids.ravel().tolist():
            if label != ZERO and (found := self._reasons.get(self._root(label))):
                return found
        return ""

    def any_free(self, ids: Ids) -> bool:
        """Whether some of these labels can still be rescaled."""
        labels = np.unique(ids[ids != ZERO]).tolist()
        return any(self._root(label) not in self._reasons for label in labels)

    def classes(self, ids: Ids) -> Ids:
        """Return labels as numbers of classes: from 1 where free, 0 where fixed or zero."""
        return self.number([ids])[0]

    def number(self, arrays: Iterable[Ids]) -> list[Ids]:
        """Return arrays of labels as numbers of classes, counted from 1 in order of appearance."""
        numbers: dict[int, int] = {}
        return [self._number(ids, numbers) for ids in arrays]

    def _number(self, ids: Ids, numbers: dict[int, int]) -> Ids:
        flat = [self._class(label, numbers) for label in ids.ravel().tolist()]
        return np.array(flat, np.int64).reshape(ids.shape)

    def _class(self, label: int, numbers: dict[int, int]) -> int:
        if label == ZERO:
            return 0
        root = self._root(label)
        return 0 if root in self._reasons else numbers.setdefault(root, len(numbers) + 1)

    def _root(self, label: int) -> int:
        parents = self._parents
        while parents[label] != label:
            parents[label] = parents[parents[label]]
            label = parents[label]
        return label

    def _join(self, one: int, other: int) -> None:
        one, other = sorted((self._root(one), self._root(other)))
        if one == other:
            return
        self._parents[other] = one
        reason = self._reasons.pop(other, None)
        if reason is not None:
            self._reasons.setdefault(one, reason)
