"""Pictures: bytes to 8-bit pixels, resized and cropped. The only file that knows Pillow."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewbits.errors import DataError, FewbitsError

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
        raise DataError(
            f"{name} cannot be read as a picture: {error}.",
            hint="Replace the file or take it out of the folder (and of labels.csv).",
        ) from error


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
    image: Image.Image, side: int | tuple[int, int], interpolation: str = "bicubic"
) -> Image.Image:
    """Bring the shorter side to `side`, keeping proportions, or the picture to (height, width).

    The longer side is rounded to the nearest pixel. Pillow's filters widen when shrinking, so
    that they do not alias. A picture that has the size already is returned untouched.
    """
    width, height = image.size
    if isinstance(side, tuple):
        size = (side[1], side[0])
    else:
        factor = side / min(width, height)
        size = (max(side, round(width * factor)), max(side, round(height * factor)))
    return image if size == image.size else image.resize(size, FILTERS[interpolation])


def centre_crop(image: Image.Image, size: tuple[int, int], name: str) -> Image.Image:
    """Cut (height, width) out of the middle; odd margins leave the extra pixel right and below.

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
    left, top = (width - size[1]) // 2, (height - size[0]) // 2
    return image.crop((left, top, left + size[1], top + size[0]))
