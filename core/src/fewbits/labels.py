"""What is known of a sample: the class of the whole, or an object of a kind of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fewbits.framing import Framing

#: One label a sample, `(samples,)`: int64 class indices, or objects (`many`) of one type each.
Labels: TypeAlias = NDArray[Any]


def many(objects: Sequence[Any]) -> Labels:
    """Return an array of objects, `(n,)`, to be sliced and joined as class indices are."""
    held = np.empty(len(objects), object)
    for place, each in enumerate(objects):
        held[place] = each
    return held


def kind_of(labels: Labels) -> type:
    """Return what each label is: `int` for class indices, or the objects' type.

    >>> kind_of(np.array([3, 1]))
    <class 'int'>
    """
    if labels.dtype != object:
        return int
    return type(labels[0]) if len(labels) else object


def called(kind: type) -> str:
    """Return what labels of a kind are called in messages."""
    return "class indices" if kind is int else kind.__name__.lower()


@dataclass(frozen=True, eq=False)
class Boxes:
    """The objects in one picture.

    Args:
        classes: int64 `(n,)`.
        corners: float64 `(n, 4)`: left, top, right, bottom in pixels of the picture.
        framing: where the picture lies in the network's input.
        crowd: bool `(n,)`: whether a box stands for a group of objects, any number of which may
            be found in it (COCO's `iscrowd`).
    """

    classes: NDArray[np.int64]
    corners: NDArray[np.float64]
    framing: Framing
    crowd: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.classes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Boxes):
            return NotImplemented
        return self.framing == other.framing and all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("classes", "corners", "crowd")
        )

    __hash__ = None  # type: ignore[assignment]  # arrays have no hash


@dataclass(frozen=True)
class Regions:
    """The class of each pixel of one picture, read from its file when it is asked for.

    Args:
        file: a grey or palette picture whose values are the classes.
        framing: where the picture lies in the network's input.
    """

    file: Path
    framing: Framing

    def classes(self) -> NDArray[np.int64]:
        """Return the classes, `(height, width)`.

        Raises:
            DataError: the file cannot be read, or its values are colours.
        """
        from fewbits.pictures import values

        return values(self.file)
