"""Pictures: bytes to 8-bit pixels, resized and cropped. The only file that knows Pillow."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewbits.errors import DataError, FewbitsError
from fewbits.framing import (
    Size,
    Window,
    central_window,
    centre_window,
    letterbox_window,
    padded_square_window,
    resized,
)

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
}


def decode(data: bytes, name: str, *, grey: bool = False) -> Image.Image:
    """Decode a picture file into 8-bit RGB, or 8-bit grey.

    Transparency is dropped, not blended; 16-bit grey keeps its high byte; the orientation noted
    by a camera is not applied (as in the usual training pipelines).

    Args:
        data: the whole file.
        name: the file's name, for messages.
        grey: return mode `L` instead of `RGB`.

    Raises:
        DataError: not a picture, damaged, truncated, or of a kind without an 8-bit meaning.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _eight_bits(image, name).convert("L" if grey else "RGB")
    except FewbitsError:
        raise
    except Exception as error:  # Pillow's decoders raise anything on damaged files.
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> DataError:
    return DataError(
        f"{name} cannot be read as a picture: {error}.",
        hint="Replace the file or take it out of the folder (and of labels.csv).",
    )


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise DataError(
            f"{name} holds 32-bit values (mode {image.mode}), which have no fixed white.",
            hint="Save it with 8 or 16 bits a channel, or give the values as a float32 npy.",
        )
    return image.convert("RGBA") if image.mode in ("P", "PA") else image


def from_pixels(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return uint8 `(height, width, 1 or 3)` as a picture, grey or RGB."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def resize(
    image: Image.Image,
    side: int | tuple[int, int],
    interpolation: str = "bicubic",
    rounding: str = "nearest",
) -> Image.Image:
    """Bring the shorter side to `side`, keeping proportions, or the picture to (height, width).

    Sizes are `framing.resized`. Pillow's filters widen when shrinking, so that they do not alias;
    `linear` does not. A picture that has the size already is returned untouched.
    """
    height, width = resized((image.height, image.width), side, rounding)
    size = (width, height)
    if size == image.size:
        return image
    if interpolation == "linear":
        return from_pixels(_linear(np.asarray(image), (height, width)))
    return image.resize(size, FILTERS[interpolation])


def _linear(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Sample `(height, width[, channels])` between the four pixels around each new middle.

    The place in the old picture is `(i + 1/2) · old / new − 1/2`, kept inside it: OpenCV's
    INTER_LINEAR, TensorFlow's `resize`, torch's `align_corners=False`.
    """
    values = (pixels[..., None] if pixels.ndim == 2 else pixels).astype(np.float32)
    for axis in (0, 1):
        old, new = values.shape[axis], size[axis]
        at = ((np.arange(new) + 0.5) * (old / new) - 0.5).clip(0, old - 1)
        low = at.astype(np.int64)
        share = (at - low).astype(np.float32).reshape(-1, *[1] * (2 - axis))
        high = np.minimum(low + 1, old - 1)
        first = values.take(low, axis)
        values = first + share * (values.take(high, axis) - first)
    return values.round().astype(np.uint8)


def central(image: Image.Image, share: float) -> Image.Image:
    """Keep the middle of a picture, `share` of each side: TensorFlow's `central_crop`."""
    return _cut(image, central_window((image.height, image.width), share))


def padded_square(image: Image.Image, side: int, padding: int) -> Image.Image:
    """Keep the centred square of `side / (side + padding)` of the shorter side, as EfficientNet."""
    return _cut(image, padded_square_window((image.height, image.width), side, padding))


def _cut(image: Image.Image, window: Window) -> Image.Image:
    height, width = window.size
    left, top = window.left, window.top
    return image.crop((left, top, left + width, top + height))


def letterbox(image: Image.Image, size: Size, fill: int, interpolation: str) -> Image.Image:
    """Fit the whole picture into (height, width), keeping proportions, `fill` around it."""
    inner, window = letterbox_window((image.height, image.width), size)
    held = Image.new(image.mode, (size[1], size[0]), (fill,) * len(image.getbands()))
    held.paste(resize(image, inner, interpolation), (-window.left, -window.top))
    return held


def centre_crop(
    image: Image.Image, size: Size, name: str, rounding: str = "nearest"
) -> Image.Image:
    """Cut (height, width) out of the middle; see `framing.centre_window`.

    Raises:
        DataError: the picture is smaller.
    """
    width, height = image.size
    if height < size[0] or width < size[1]:
        raise DataError(
            f"{name} is {height}x{width} (height x width), too small to crop"
            f" {size[0]}x{size[1]} out of it.",
            hint=f"Add resize={max(size)} or more to --preprocess.",
        )
    return _cut(image, centre_window((height, width), size, rounding))


def size_of(path: Path) -> Size:
    """Return height and width of a picture file; only its header is read.

    Raises:
        DataError: it is not there, or no picture.
    """
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except Exception as error:  # Pillow's decoders raise anything on damaged files.
        raise _unreadable(str(path), error) from error


def values(path: Path) -> NDArray[np.int64]:
    """Return the values of a grey or palette picture as they stand in the file.

    Returns:
        int64 `(height, width)`: 8 or 16-bit grey values, or places in the palette.

    Raises:
        DataError: it is not there, no picture, or has colours.
    """
    try:
        with Image.open(path) as image:
            mode, pixels = image.mode, np.asarray(image)
    except Exception as error:  # Pillow's decoders raise anything on damaged files.
        raise _unreadable(str(path), error) from error
    if pixels.ndim != 2 or pixels.dtype.kind not in "iu":
        raise DataError(
            f"{path} holds colours (mode {mode}), not one value a pixel.",
            hint="Save it as a grey or palette picture whose values are the classes.",
        )
    return pixels.astype(np.int64)
