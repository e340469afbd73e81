"""Which part of a picture a network sees, and where: the geometry of resizing, cropping, padding.

Places are in pixels from the upper left corner, y down; pixel `i` reaches from `i` to `i + 1`.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fewbits.preprocess import Preprocess

Size = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """A part of a picture, or of a frame around it; the offset may be negative for the latter.

    Args:
        top: pixels above it.
        left: pixels to the left of it.
        size: its height and width.
    """

    top: int
    left: int
    size: Size


@dataclass(frozen=True)
class Framing:
    """Where a picture lies in a network's input: `seen = picture · scale + shift`, for y and x.

    Args:
        picture: height and width of the picture.
        frame: height and width of the input.
        scale: of y and x.
        shift: of y and x, in pixels of the input.

    >>> from fewbits.preprocess import Preprocess
    >>> letterboxed = frame(Preprocess(resize=(64, 64), letterbox=0), (100, 200))
    >>> letterboxed.seen(np.array([[0.0, 0.0, 200.0, 100.0]]))
    array([[ 0., 16., 64., 48.]])
    """

    picture: Size
    frame: Size
    scale: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)

    def cut(self, window: Window) -> "Framing":
        """Return what becomes of it when a window of the frame is kept."""
        shift = (self.shift[0] - window.top, self.shift[1] - window.left)
        return replace(self, frame=window.size, shift=shift)

    def resized(self, size: Size) -> "Framing":
        """Return what becomes of it when the frame is brought to (height, width)."""
        by = (size[0] / self.frame[0], size[1] / self.frame[1])
        scale = (self.scale[0] * by[0], self.scale[1] * by[1])
        return replace(self, frame=size, scale=scale, shift=_times(self.shift, by))

    def seen(self, corners: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take boxes from the picture to the input.

        Args:
            corners: left, top, right, bottom in pixels of the picture, `(n, 4)`.

        Returns:
            The same in pixels of the input, `(n, 4)`; nothing is cut off.
        """
        return corners * self._both(self.scale) + self._both(self.shift)

    def pictured(self, corners: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take boxes from the input to the picture: what `seen` does, backwards."""
        return (corners - self._both(self.shift)) / self._both(self.scale)

    @staticmethod
    def _both(pair: tuple[float, float]) -> NDArray[np.float64]:
        return np.array([pair[1], pair[0], pair[1], pair[0]])


def _times(pair: tuple[float, float], by: tuple[float, float]) -> tuple[float, float]:
    return pair[0] * by[0], pair[1] * by[1]


def frame(preprocess: "Preprocess", size: Size) -> Framing:
    """Return where a picture of (height, width) lies in what `preprocess` makes of it."""
    seen = _framed(preprocess, Framing(size, size))
    if preprocess.crop is not None:
        wanted = _pair(preprocess.crop)
        seen = seen.cut(centre_window(seen.frame, wanted, preprocess.rounding))
    return seen if preprocess.stretch is None else seen.resized(preprocess.stretch)


def _framed(preprocess: "Preprocess", seen: Framing) -> Framing:
    """Follow the steps up to the resize, in the order of `Preprocess`."""
    resize = preprocess.resize
    if preprocess.letterbox is not None and isinstance(resize, tuple):
        inner, window = letterbox_window(seen.frame, resize)
        return seen.resized(inner).cut(window)
    if preprocess.central is not None:
        seen = seen.cut(central_window(seen.frame, preprocess.central))
    if resize is None:
        return seen
    if preprocess.crop_padding is not None:
        padding = preprocess.crop_padding
        seen = seen.cut(padded_square_window(seen.frame, _pair(resize)[0], padding))
    return seen.resized(resized(seen.frame, resize, preprocess.rounding))


def _pair(side: int | Size) -> Size:
    return side if isinstance(side, tuple) else (side, side)


def resized(size: Size, side: int | Size, rounding: str = "nearest") -> Size:
    """Return the size when the shorter side becomes `side`, or `side` itself if it is a pair.

    The longer side is rounded to the nearest pixel, or cut off as torchvision does.

    >>> resized((200, 301), 100), resized((200, 301), 100, "torchvision")
    ((100, 150), (100, 150))
    """
    if isinstance(side, tuple):
        return side
    height, width = size
    short, long = sorted(size)
    other = side * long // short if rounding == "torchvision" else round(long * (side / short))
    longer = max(side, other)
    return (longer, side) if width <= height else (side, longer)


def central_window(size: Size, share: float) -> Window:
    """Return the middle, `share` of each side: TensorFlow's `central_crop`."""
    top, left = (int((side - side * share) / 2) for side in size)
    return Window(top, left, (size[0] - 2 * top, size[1] - 2 * left))


def padded_square_window(size: Size, side: int, padding: int) -> Window:
    """Return the centred square of `side / (side + padding)` of the shorter side.

    Source: EfficientNet's evaluation (`_decode_and_center_crop` of its `preprocessing.py`), which
    resizes the square to `side` afterwards.
    """
    square = max(int(side / (side + padding) * min(size)), 1)
    top, left = ((length - square + 1) // 2 for length in size)
    return Window(top, left, (square, square))


def letterbox_window(size: Size, wanted: Size) -> tuple[Size, Window]:
    """Return the size in which the whole fits into (height, width), and the frame around it.

    It stands in the middle; of an odd margin the larger part is right and below. Source: the
    detectors of the YOLO family (`letterbox` of Ultralytics, with `auto=False`).
    """
    factor = min(wanted[0] / size[0], wanted[1] / size[1])
    inner = (max(round(size[0] * factor), 1), max(round(size[1] * factor), 1))
    top, left = ((whole - part) // 2 for whole, part in zip(wanted, inner, strict=True))
    return inner, Window(-top, -left, wanted)


def centre_window(size: Size, wanted: Size, rounding: str = "nearest") -> Window:
    """Return (height, width) in the middle.

    Odd margins leave the extra pixel right and below; torchvision rounds the offset half to even.
    """
    margins = (size[0] - wanted[0], size[1] - wanted[1])
    if rounding == "torchvision":
        top, left = (round(margin / 2) for margin in margins)
    else:
        top, left = (margin // 2 for margin in margins)
    return Window(top, left, wanted)
